"""The demo data: street scenes that colours alone do not solve, with gaps between domains, in the six real layouts."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from datasets.check import check
from datasets.demo import FURTHER, LAYOUTS, STYLES, draw_scene, scene_files, write_demo
from datasets.demo.__main__ import main
from datasets.demo.encodings import stored_ids
from datasets.demo.write import SPLITS
from datasets.labels import CLASSES, GTAV_COLOUR, GTAV_IDS, GTAV_PALETTE, IGNORE, MAPILLARY_CLASSES
from datasets.registry import SPECS
from utils.errors import UsageError
from utils.metrics import ConfusionMatrix, Scores

SMALL = (64, 128)


def scenes(name: str, split: str, count: int, size: tuple[int, int] = (128, 256)) -> tuple[np.ndarray, np.ndarray]:
    """Images N,H,W,3 and train ids N,H,W."""
    seeds = [[304, list(STYLES).index(name), SPLITS.index(split), index] for index in range(count)]
    images, labels = zip(*(draw_scene(STYLES[name], np.random.default_rng(seed), size) for seed in seeds), strict=True)
    return np.stack(images), np.stack(labels)


def scores(labels: np.ndarray, predictions: np.ndarray) -> Scores:
    matrix = ConfusionMatrix(len(CLASSES))
    matrix.update(torch.from_numpy(labels), torch.from_numpy(predictions))
    return matrix.scores()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("demo")
    write_demo(root, train=2, val=1, size=SMALL, workers=1)
    return root


@pytest.mark.parametrize("name", STYLES)
def test_the_loaders_read_what_was_drawn(written: Path, name: str) -> None:
    home = written / LAYOUTS["readme"][name].folder
    for split, count in (("train", 2), ("val", 1)):
        labels_of = {pair.image: pair.label for pair in SPECS[name].pairs(written, split)}
        assert len(labels_of) == count
        for index, (image, labels) in enumerate(zip(*scenes(name, split, count, SMALL), strict=True)):
            file = home / scene_files(name, "readme", split, index)[0]
            error = np.abs(np.asarray(Image.open(file)).astype(float) - image).mean()
            assert error < 4 if file.suffix == ".jpg" else error == 0
            np.testing.assert_array_equal(SPECS[name].decode(labels_of[file]), labels, strict=True)


def test_labels_are_encoded_as_in_the_real_data(written: Path) -> None:
    def label(name: str) -> Path:
        return SPECS[name].pairs(written, "train")[0].label

    with Image.open(label("gtav")) as gtav:
        assert gtav.mode == "P"
        assert gtav.getpalette()[: GTAV_PALETTE.size] == GTAV_PALETTE.ravel().tolist()
        np.testing.assert_array_equal(GTAV_IDS[np.asarray(gtav)], GTAV_COLOUR[np.asarray(gtav)])
    with Image.open(label("mapillary")) as mapillary:
        assert mapillary.mode == "P" and np.asarray(mapillary).max() < len(MAPILLARY_CLASSES)
    assert label("synthia").read_bytes()[24:26] == bytes([16, 2])  # bits per channel, RGB
    assert MAPILLARY_CLASSES[stored_ids(SPECS["mapillary"])[CLASSES.index("sidewalk")]] == "Sidewalk"
    for dataset in (SPECS[name] for name in STYLES | FURTHER):
        stored = stored_ids(dataset)
        np.testing.assert_array_equal(dataset.table[stored[:19]], np.arange(19))
        assert dataset.table[stored[IGNORE]] == IGNORE


@pytest.mark.parametrize("workers", [1, 2])
def test_a_split_has_the_same_pixels_in_every_demo(written: Path, tmp_path: Path, workers: int) -> None:
    """However many processes draw it, and whether or not the other split and the other domains are drawn."""
    flags = f"{tmp_path} --train 1 --val 1 --size 64 128 --workers {workers} --domains gtav --val_only bdd100k"
    main(flags.split())
    for folder, name, split, images in (("GTAV", "gtav", "val", 2), ("bdd-100k", "bdd100k", "val", 1)):
        assert len(list((tmp_path / folder / "images").rglob("*.*"))) == images
        (ours,), (theirs,) = (SPECS[name].pairs(root, split) for root in (tmp_path, written))
        assert ours.name == theirs.name
        assert ours.image.read_bytes() == theirs.image.read_bytes()
        assert ours.label.read_bytes() == theirs.label.read_bytes()


def test_only_an_interrupted_demo_is_drawn_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = f"{tmp_path} --domains bdd100k --train 2 --val 0 --size 64 128 --workers 1".split()
    main(flags)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    main(flags)
    assert capsys.readouterr().out.count("already there") == 1
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    note, lost = tmp_path / "bdd-100k" / "demo.json", SPECS["bdd100k"].pairs(tmp_path, "train")[1].image
    note.write_text(note.read_text().replace("true", "false"))
    lost.unlink()
    main(flags)
    assert lost.is_file()


@pytest.mark.parametrize("note", [None, '{"seed": 1, "complete": true}', "[]", "5"])
def test_nothing_is_overwritten(tmp_path: Path, note: str | None) -> None:
    """Neither somebody's data nor another demo."""
    precious = tmp_path / "synthia" / "RGB" / "train" / "0000001.png"
    precious.parent.mkdir(parents=True)
    precious.write_text("precious")
    if note:
        (tmp_path / "synthia" / "demo.json").write_text(note)
    with pytest.raises(UsageError, match="ROOT") as error:
        main([str(tmp_path), "--train", "2", "--val", "1", "--size", "64", "128"])
    assert "\n" not in str(error.value)
    assert precious.read_text() == "precious"
    assert not (tmp_path / "GTAV").exists()  # refused before anything is drawn


@pytest.mark.parametrize("note", ["5", '{"size": 5}', '{"size": [64, 128], "train": "x", "val": 0}'])
def test_the_doctor_passes_over_a_broken_note(tmp_path: Path, note: str) -> None:
    main(f"{tmp_path} --domains mapillary --train 2 --val 1 --size 64 128 --workers 1".split())
    (tmp_path / "mapillary" / "demo.json").write_text(note)
    assert {finding.code for finding in check(tmp_path).findings} == {"count"}


@pytest.mark.parametrize("name", STYLES)
def test_every_class_is_in_one_image_of_twenty(name: str) -> None:
    _, labels = scenes(name, "train", 40, (96, 192))
    shares = [(labels == train_id).any((1, 2)).mean() for train_id in range(len(CLASSES))]
    assert min(shares) >= 0.05, dict(zip(CLASSES, shares, strict=True))


@pytest.mark.parametrize("name", ["gtav", "synthia", "mapillary"])
def test_colour_and_row_do_not_solve_the_task(name: str) -> None:
    """The most frequent class of each cell of quantised colour and row, known from the training scenes."""

    def cells(images: np.ndarray) -> np.ndarray:
        red, green, blue = np.moveaxis(images.astype(np.int64) // 16, -1, 0)
        row = np.arange(images.shape[1])[:, None] * 16 // images.shape[1]
        return ((row * 16 + red) * 16 + green) * 16 + blue

    images, labels = scenes(name, "train", 40)
    known = labels != IGNORE
    counts = np.bincount(cells(images)[known] * 19 + labels[known], minlength=16**4 * 19).reshape(-1, 19)
    images, labels = scenes(name, "val", 12)
    assert scores(labels, counts.argmax(1)[cells(images)]).mean_iou <= 0.35


def block(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


def small_network() -> nn.Module:
    blocks = [block(3, 24, 2), block(24, 48, 2), block(48, 64), block(64, 96, 2), block(96, 96), block(96, 96)]
    return nn.Sequential(*blocks, nn.Conv2d(96, len(CLASSES), 1), nn.Upsample(scale_factor=8, mode="bilinear"))


def tensor(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def test_a_network_loses_ten_points_in_other_domains(threads: Callable[[int], None]) -> None:
    threads(1)  # small layers gain nothing from more
    torch.manual_seed(0)
    images, labels = scenes("synthia", "train", 50)
    images, labels = tensor(images), torch.from_numpy(labels).long()
    net = small_network()
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, [140], gamma=1 / 6)
    for _ in range(200):
        pick, left = torch.randint(len(images), (4,)), int(torch.randint(129, ()))
        window = slice(left, left + 128)
        loss = F.cross_entropy(net(images[pick][..., window]), labels[pick][..., window], ignore_index=IGNORE)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    net.eval()
    ious = {}
    for name in STYLES:
        images, labels = scenes(name, "val", 20)
        with torch.no_grad():
            ious[name] = scores(labels, net(tensor(images)).argmax(1).numpy()).mean_iou_above(0.01)
    home = ious.pop("synthia")
    assert home >= 0.3, ious  # it has learned its own domain
    assert home - np.mean(list(ious.values())) >= 0.1, (home, ious)
