"""How training images are drawn, normalised and blurred where flags ask for more than the published way."""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import eval as evaluation
import train as training
from checkpoints.run_files import load_checkpoint, write_checkpoint
from datasets.bilateral import bilateral
from datasets.labels import STANDARD
from datasets.registry import spec
from datasets.sampling.class_tiles import ClassTiles
from datasets.sampling.loaders import Batch, Domains, train_loader
from datasets.transforms import Augmentation, normalise, scale_crop_flip
from engine.options.evaluation_options import parse_evaluation
from engine.options.training_command import parse_training
from engine.plan import plan
from support.mistakes import training_mistake
from support.snapshots import write_snapshot
from utils.errors import UsageError

pytestmark = pytest.mark.usefixtures("thin_resnet")

# Flags


def test_sources_in_letters(capsys: pytest.CaptureFixture) -> None:
    run = parse_training(["--source", "GSIM", "--target", "cb"]).run
    assert run.sources == ("gtav", "synthia", "idd", "mapillary") and run.targets == ("cityscapes", "bdd100k")
    for line, message in [
        ("--source GX", "GX: X is no letter of G (gtav), S (synthia), I (idd), M (mapillary), C (cityscapes)"),
        ("--source G --dataset gtav", "not allowed with argument --source"),
        ("--target C --val_dataset idd", "not allowed with argument --target"),
        ("--image_uniform_sampling --mldg", "--image_uniform_sampling: --mldg needs images of every domain"),
    ]:
        assert message in training_mistake(line, capsys)


def test_a_quick_trial() -> None:
    trial = parse_training(["--test_mode"])
    assert (trial.augmentation.crop_size, trial.sampling.batch_size) == (240, 2)
    assert (trial.run.max_iter, trial.run.val_images, trial.run.first_memory_batches) == (60, 12, 4)
    ours = parse_training(
        ["--crop_size", "96", "--test_mode", "--max_iter", "7", "--recipe", "published", "--dataset", "idd"]
    )
    assert (ours.augmentation.crop_size, ours.run.max_iter, ours.run.first_memory_batches) == (96, 7, 4)
    assert parse_evaluation(["--snapshot", "x", "--test_mode"]).subject.limit == 10
    assert parse_evaluation(["--snapshot", "x", "--test_mode", "--limit", "3"]).subject.limit == 3


# Sampling


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three images of BDD100K and one of IDD, each of a single class: 0, 1, 2 and 3."""
    files = [(f"bdd-100k/images/train/{k}.jpg", f"bdd-100k/labels/train/{k}_train_id.png") for k in range(3)]
    idd = "idd/{0}_trainvaltest/{0}/train/0/3_{1}.png"
    files.append((idd.format("leftImg8bit", "leftImg8bit"), idd.format("gtFine", "gtFine_labelcsTrainIds")))
    for train_id, (image, label) in enumerate(files):
        for name, mode, value in ((image, "RGB", train_id * 60), (label, "L", train_id)):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new(mode, (40, 40), value).save(tmp_path / name)
    return tmp_path


def domains_of(root: Path, *, joined: bool) -> Domains:
    sources = [(spec(name), spec(name).pairs(root, "train")) for name in ("bdd100k", "idd")]
    return Domains(sources, Augmentation(crop_size=8), seed=0, joined=joined)


def test_all_images_are_equally_likely(root: Path) -> None:
    counts = {}
    for joined in (True, False):
        domains = domains_of(root, joined=joined)
        batches = list(train_loader(domains, batch_size=4, start=0, stop=100))
        assert batches[0].images.shape[:2] == (1 if joined else 2, 4) and len(batches[0].meta_test) == 2 - joined
        counts[joined] = Counter(int(crop.min()) for batch in batches for crop in batch.labels.flatten(0, 1))
    assert counts[True].total() == 400 and all(abs(counts[True][train_id] - 100) < 30 for train_id in range(4))
    assert counts[False].total() == 800 and counts[False][3] == 400


def test_joined_tiles() -> None:
    """Classes 0 and 2 in one data set of two images, 0 and 18 in another of one."""
    images, other = [np.array([[0, 5, 6], [2, 7, 8]]), np.array([[2, 9, 9]])], np.array([[0, 1, 1], [18, 3, 4]])
    joined = ClassTiles.joined([ClassTiles.of(images), ClassTiles.of([other])], [2, 1])
    expected = ClassTiles.of([*images, other])
    assert np.array_equal(joined.rows, expected.rows)


# Augmentation


def test_bilateral_blur() -> None:
    """The definition, pixel by pixel."""
    image = np.random.default_rng(0).integers(0, 256, (6, 9, 3)).astype(np.uint8)
    x, sigma = image.astype(float), 0.7
    expected = np.zeros_like(x)
    for row, column in np.ndindex(6, 9):
        rows, columns = np.mgrid[:6, :9]
        distance = (rows - row) ** 2 + (columns - column) ** 2
        weight = np.exp(-distance / (2 * sigma**2) - ((x - x[row, column]) ** 2).sum(-1) / (2 * x.var()))
        expected[row, column] = (weight[..., None] * x).sum((0, 1)) / weight.sum()
    assert np.abs(bilateral(image, sigma=sigma) - expected).max() < 1
    assert np.array_equal(bilateral(image, sigma=0.05), image)


def test_the_shorter_side_first() -> None:
    """As if images had been resized beforehand, apart from the second interpolation."""
    label = np.repeat(np.repeat(np.random.default_rng(0).integers(0, 19, (5, 8)), 20, 0), 20, 1).astype(np.uint8)
    image = Image.fromarray(STANDARD.colourise(label))
    for size in ((80, 50), (32, 20), (400, 250)):
        small = image.resize(size, Image.BICUBIC)
        small_label = np.asarray(Image.fromarray(label).resize(size, Image.NEAREST))
        for seed in range(5):
            options = {"crop": 40, "rng": np.random.default_rng(seed)}
            ours = scale_crop_flip(image, label, **options, shorter=min(size))
            options["rng"] = np.random.default_rng(seed)
            reference = scale_crop_flip(small, small_label, **options)
            assert (ours[1] != reference[1]).mean() < 0.12
            assert np.abs(np.asarray(ours[0], int) - np.asarray(reference[0], int)).mean() < 12
    turned = image.transpose(Image.ROTATE_90), label.T
    _, tall = scale_crop_flip(*turned, 30, np.random.default_rng(0), shorter=30, pad=False)
    assert tall.shape == (30, 30) and tall.max() < 19


# Normalisation by the image itself


def test_an_image_s_own_statistics() -> None:
    images = torch.randint(0, 256, (2, 3, 3, 4, 5), dtype=torch.uint8)
    images[0, 0, 0] = 7  # no variance
    x = images.double() / 255
    mean, variance = x.mean((-2, -1), keepdim=True), x.var((-2, -1), keepdim=True, unbiased=False)
    expected = ((x - mean) / (variance + 1e-5).sqrt()).float()
    torch.testing.assert_close(normalise(images, image_in=True), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(normalise(images[1, 2], image_in=True), expected[1, 2], atol=1e-4, rtol=1e-4)
    batch = Batch(images, torch.zeros(2, 3, 4, 5, dtype=torch.uint8), torch.tensor([True, False]))
    assert torch.equal(batch.ready("cpu", image_in=True).images, normalise(images, image_in=True))
    assert torch.equal(batch.ready("cpu").images, normalise(images))


def test_a_snapshot_says_how(data: Path, tmp_path: Path) -> None:
    """Files that do not say it take the flag's word."""
    silent = write_snapshot(tmp_path / "silent.pth", memory=False)
    content = load_checkpoint(silent)
    for name, image_in in (("own", True), ("imagenet", False)):
        network = content["network"] | {"image_in": image_in}
        write_checkpoint(tmp_path / f"{name}.pth", content | {"network": network})

    def scored(name: str, *more: str) -> tuple[str, float]:
        common = f"--snapshot {tmp_path}/{name}.pth --data_root {data} --dataset gtav --device cpu --num_workers 0"
        evaluation.main([*common.split(), "--out", str(tmp_path / "out"), *more])
        domain = json.loads((tmp_path / "out/results.json").read_text())["domains"]["gtav"]
        return domain["protocol"]["normalised_by"], domain["mean_iou"]

    own, silent = scored("own"), scored("silent")
    assert (own[0], silent[0]) == ("the image itself", "ImageNet") and own[1] != silent[1]
    assert scored("silent", "--image_in") == own and scored("imagenet") == silent
    with pytest.raises(UsageError, match="there by ImageNet, here each image by itself"):
        scored("imagenet", "--image_in")


def test_a_run_and_its_evaluation(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    common = f"--data_root {data} --device cpu --num_workers 0"
    line = f"{common} --val_dataset mapillary --exp_root {tmp_path} --arch DeepR18V3PlusD --pretrained_backbone none "
    line += "--test_mode --crop_size 48 --max_iter 2 --val_images 1 --mapillary_crop 64 --image_in --bblur "
    line += "--pre_size 56 --image_uniform_sampling --memory --class_uniform_pct 0.5 --class_uniform_tile 32 "
    line += "--dump_augmentation_images"
    text = plan(parse_training(line.split()))
    assert "2 images of all domains together, 2 images in all" in text
    assert len(re.findall(r"4 images.*, 0\.50", text)) == 2
    training.main(line.split())
    (run,) = (tmp_path / "default").iterdir()
    pictures = sorted((run / "augmentation").iterdir())
    assert [path.name for path in pictures] == ["iteration_0000000.png", "iteration_0000001.png"]
    assert Image.open(pictures[0]).size == (2 * 96 + 4, 48 + 20)
    assert load_checkpoint(run / "last.pth")["network"]["image_in"]
    evaluation.main([*common.split(), "--snapshot", str(run / "last.pth"), "--dataset", "synthia", "--test_mode"])
    (results,) = run.glob("last/whole/results.json")
    assert json.loads(results.read_text())["domains"]["synthia"]["protocol"]["normalised_by"] == "the image itself"
    assert "mIoU" in capsys.readouterr().out
