"""Class-uniform sampling: tiles, draws, crops, tiles kept between runs, lines of the plan."""

from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from datasets.labels import IGNORE
from datasets.registry import DatasetSpec, spec
from datasets.sampling.class_tiles import ClassTiles, key, places
from datasets.sampling.loaders import ClassUniform, Domains
from datasets.sampling.requests import Request
from datasets.transforms import Augmentation
from engine.build import training_domains
from engine.options.training_command import parse_training
from engine.options.training_options import TrainingOptions
from engine.plan import plan
from engine.timetable import timetable_of
from engine.training import class_sampling
from engine.training.class_sampling import class_uniform
from support.ranks import run_ranks
from utils.errors import UsageError

CROP, SIZE = 24, (80, 50)  # of an image: width, height
RARE = {"bdd100k": (0, 7, 12), "idd": (3, 6)}  # classes that only one small patch of one image shows


def draw(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, "png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two domains of six images of ground and sky, with small patches of the rare classes."""
    rng = np.random.default_rng(0)
    for name in RARE:
        for index in range(6):
            label = np.full(SIZE[::-1], 10, np.uint8)
            label[30:] = 0 if name == "idd" else 1
            for rare in RARE[name]:
                if rare % 6 == index:
                    x, y = rng.integers(0, 70), rng.integers(0, 40)
                    label[y : y + 7, x : x + 7] = rare
            home, layout = tmp_path / spec(name).folders[0], spec(name).layouts[0]
            image = layout.images.format(split="train").replace("*", f"{index}")
            draw(home / image, np.stack([label] * 3, 2))
            draw(home / layout.label_places(image, "train")[0], label)
    return tmp_path


def options_of(root: Path, more: str = "") -> TrainingOptions:
    line = f"--dataset bdd100k idd --data_root {root} --exp_root {root}/runs --num_workers 0 --max_iter 9 --bs_mult 2"
    return parse_training(f"{line} --class_uniform_pct 1 --class_uniform_tile 30 {more}".split())


def domains_of(options: TrainingOptions, **augmentation: Any) -> Domains:
    sources = [(spec(name), spec(name).pairs(options.data.root, "train")) for name in options.run.sources]
    domains = Domains(sources, Augmentation(crop_size=CROP, **augmentation), options.run.seed)
    return replace(domains, uniform=class_uniform(options, domains))


def requests(count: int) -> list[Request]:
    return [Request(index // 4, index // 2 % 2, index % 2, False, False) for index in range(count)]


def test_places_equal_a_search_by_hand() -> None:
    label = np.random.default_rng(1).choice([0, 0, 0, 4, 18, IGNORE], (23, 31)).astype(np.uint8)
    label[:8, :9] = IGNORE
    label[:8, 1:3] = label[:8, 6:8] = 9  # its centroid lies between its two parts
    columns, rows = [(0, 10), (10, 20), (20, 31)], [(0, 11), (11, 23)]
    ours = iter(places(label, 12))
    for (top, bottom), (left, right), train_id in product(rows, columns, range(19)):
        pixels = [(x, y) for y in range(top, bottom) for x in range(left, right) if label[y, x] == train_id]
        if pixels:
            x, y = np.mean(pixels, axis=0)
            class_id, px, py = next(ours)
            assert class_id == train_id and (px, py) in pixels
            assert (px - x) ** 2 + (py - y) ** 2 == pytest.approx(min((a - x) ** 2 + (b - y) ** 2 for a, b in pixels))
    assert next(ours, None) is None
    assert len(places(np.full((5, 5), IGNORE, np.uint8), 12)) == 0


def test_classes_are_equally_frequent_and_so_are_the_tiles_of_a_class() -> None:
    images = [np.array([[0, 1, 2], [0, 3, 4], [18, 5, 6]]), np.zeros((0, 3), int), np.array([[0, 7, 8]])]
    tiles, rng = ClassTiles.of(images), np.random.default_rng(0)
    drawn = Counter(tiles.draw(rng) for _ in range(6000))
    assert set(drawn) == {(0, (1, 2)), (0, (3, 4)), (0, (5, 6)), (2, (7, 8))} and tiles.classes.tolist() == [0, 18]
    assert drawn[0, (5, 6)] / 6000 == pytest.approx(0.5, abs=0.03)
    assert drawn[2, (7, 8)] / 6000 == pytest.approx(1 / 6, abs=0.03)


@pytest.mark.parametrize("augmentation", [{}, {"pad": False}, {"scale_min": 0.3, "scale_max": 0.4}])
def test_every_crop_shows_its_class(augmentation: dict, root: Path) -> None:
    domains = domains_of(options_of(root), **augmentation)
    seen: dict[int, Counter] = {0: Counter(), 1: Counter()}
    for request in requests(400):
        rng = np.random.default_rng([request.iteration, request.domain, request.slot])
        index, (x, y) = domains.choose(request, rng)
        dataset, samples = domains.sources[request.domain]
        label = dataset.decode(samples[index].label)
        crop = domains.augmentation(Image.new("RGB", SIZE), label, rng, place=(x, y))[1]
        assert label[y, x] in crop
        seen[request.domain][label[y, x]] += 1
    for domain, rare in enumerate(RARE.values()):
        assert seen[domain].keys() == {*rare, 10, 0 if domain else 1}
        for count in seen[domain].values():
            assert count / 200 == pytest.approx(1 / len(seen[domain]), abs=0.12)


def test_share_and_end(root: Path) -> None:
    options = options_of(root, "--class_uniform_pct 0.3 --max_cu_epoch 2 --epoch_size 7")
    domains = domains_of(options)
    assert domains.uniform.stop == timetable_of(options).class_uniform_end == 7
    rng = np.random.default_rng(0)
    shares = []
    for iteration in (-5, 6, 7):
        request = Request(iteration, 1, 0, False, False)
        shares.append(np.mean([domains.choose(request, rng)[1] is not None for _ in range(2000)]))
    assert shares == pytest.approx([0.3, 0.3, 0], abs=0.04) and shares[2] == 0
    assert class_uniform(options_of(root, "--class_uniform_pct 0"), domains) is None
    never, over = replace(domains, uniform=None), replace(domains, uniform=ClassUniform([], share=1.0, stop=0))
    for request in requests(8):
        assert all(torch.equal(ours, other) for ours, other in zip(never[request], over[request], strict=True))


def with_searches(options: TrainingOptions) -> tuple[Domains, list[str]]:
    """The domains, and the names of the data sets whose labels were searched for them."""
    searched, compute = [], class_sampling.compute_tiles

    def watched(options: TrainingOptions, dataset: DatasetSpec, *rest: Any) -> ClassTiles:
        searched.append(dataset.name)
        return compute(options, dataset, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(class_sampling, "compute_tiles", watched)
        return domains_of(options), searched


def test_labels_are_searched_once(root: Path) -> None:
    def search(more: str = "") -> list[str]:
        return with_searches(options_of(root, more))[1]

    assert search() == ["bdd100k", "idd"]
    assert search() == search("--num_workers 2") == []
    assert search("--class_uniform_tile 31 --dataset bdd100k idd idd") == ["bdd100k", "idd"]
    changed = spec("idd").pairs(root, "train")[0]
    Image.fromarray(np.random.default_rng(0).choice([0, 10], SIZE[::-1]).astype(np.uint8)).save(changed.label)
    assert search() == ["idd"]
    changed.image.unlink()
    assert search() == ["idd"]
    samples = spec("idd").pairs(root, "train")
    readers = spec("gtav"), spec("gtav", gtav_labels="colour")  # labels that are read in another way need other files
    assert len({key(dataset, samples, side) for dataset in readers for side in (8, 9)}) == 4
    for path in (root / "runs/class_tiles").iterdir():
        path.write_bytes(path.read_bytes()[:50])
    assert search() == ["bdd100k", "idd"]


def test_mistakes(root: Path) -> None:
    (root / "runs").write_text("a file")
    with pytest.raises(OSError, match="runs"):  # run_program says which folder
        domains_of(options_of(root))
    (root / "runs").unlink()
    samples = spec("idd").pairs(root, "train")
    for sample in samples:
        Image.new("L", SIZE, IGNORE).save(sample.label)
    with pytest.raises(UsageError, match="--class_uniform_pct: the labels of idd show no class"):
        domains_of(options_of(root))
    samples[2].label.write_bytes(b"no image")
    with pytest.raises(UsageError, match="unreadable label"):
        domains_of(options_of(root, "--num_workers 1 --class_uniform_tile 20"))


def test_one_process_searches_for_all(root: Path, tmp_path: Path) -> None:
    (one, first), (two, second) = run_ranks(with_searches, 2, tmp_path, options_of(root))
    assert first == ["bdd100k", "idd"] and second == []
    counts = [[len(tiles.rows) for tiles in domains.uniform.tiles] for domains in (one, two)]
    assert counts[0] == counts[1] and min(counts[0]) > 6


def draw_cityscapes(root: Path, kind: str, split: str, train_ids: list[int]) -> None:
    """An image of each class in a split of ``kind`` 'gtFine' or 'gtCoarse'."""
    for train_id in train_ids:
        stem = f"{split}/city/city_{train_id:06}"
        label = np.full(SIZE[::-1], np.flatnonzero(spec("cityscapes").table == train_id)[0], np.uint8)
        draw(root / f"cityscapes/leftImg8bit/{stem}_leftImg8bit.png", np.zeros((*SIZE[::-1], 3), np.uint8))
        draw(root / f"cityscapes/{kind}/{stem}_{kind}_labelIds.png", label)


@pytest.mark.parametrize("joined", [False, True])
def test_coarse_labels_of_some_classes(root: Path, joined: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_cityscapes(root, "gtFine", "train", [0, 14])
    draw_cityscapes(root, "gtCoarse", "train_extra", [10, 14, 15, 16])
    line = "--dataset bdd100k cityscapes --class_uniform_pct 0.5 --coarse_boost_classes 14,16"
    options = options_of(root, line + " --image_uniform_sampling" * joined)
    domains = training_domains(options)
    domains = replace(domains, uniform=class_uniform(options, domains))
    rng, domain = np.random.default_rng(0), 0 if joined else 1
    seen: dict[bool, Counter] = {True: Counter(), False: Counter()}
    for _ in range(4000):
        index, place = domains.choose(Request(0, domain, 0, False, False), rng)
        dataset, sample = domains.find(domain, index)
        if dataset.name == "cityscapes":
            assert place is None or dataset.decode(sample.label)[place[1], place[0]] == int(sample.image.name[5:11])
            seen[place is not None][sample.label.parts[-4], int(sample.image.name[5:11])] += 1
    fine = {("gtFine", 0), ("gtFine", 14)}
    assert seen[False].keys() == fine  # coarse labels serve their classes only
    assert seen[True].keys() == fine | {("gtCoarse", 14), ("gtCoarse", 16)}
    assert seen[True]["gtCoarse", 14] == pytest.approx(seen[True]["gtFine", 14], rel=0.3)  # as frequent as other tiles
    if not joined:
        assert seen[True]["gtCoarse", 16] / 2000 == pytest.approx(1 / 3, abs=0.04)  # equally frequent classes
    monkeypatch.setattr("engine.plan.validation_sets", lambda *_: {})  # there are no such images
    assert "of truck, train also from the coarse labels of cityscapes: 4 images (19,998 expected)" in plan(options)


def test_the_plan(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.plan.validation_sets", lambda *_: {})  # there are no such images
    text = plan(options_of(root, "--max_cu_epoch 1 --epoch_size 8"))
    assert "100% of the images by class, from tiles of at most 30 pixels a side" in text and "loss  " not in text
    assert "until iteration 4\n" in text
    losses = "--img_wt_loss --jointwtborder --strict_bdr_cls 5,7 --rlx_off_iter 1500"
    text = plan(options_of(root, f"--class_uniform_pct 0 {losses}"))
    assert "by how little each image shows them, 1 to 2\n" in text and "sampling" not in text
    assert "relaxed at borders before iteration 1,500, but not for pole, traffic sign\n" in text
