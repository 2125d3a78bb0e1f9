"""Class-uniform sampling: what is found, what is drawn and shown, what is kept between runs, and its flags."""

import argparse
from argparse import Namespace
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_loaders import same

from datasets.labels import IGNORE
from datasets.registry import spec
from datasets.sampling.class_tiles import ClassTiles, key, places
from datasets.sampling.loaders import ClassUniform, Domains, train_loader
from datasets.sampling.requests import Request
from datasets.transforms import Augmentation
from engine.build import training_domains
from engine.options.resuming import refuse_changes
from engine.options.train_flags import parse_training, training_parser
from engine.plan import plan, uniform_iterations
from engine.training import class_sampling as sampling
from engine.training.class_sampling import class_uniform
from support.ranks import run_ranks
from utils.errors import UsageError

CROP, SIZE = 24, (80, 50)  # of an image: width, height
RARE = {"bdd100k": (0, 7, 12), "idd": (3, 6)}  # classes that only one small patch of one image shows


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two domains of six images, road and sky but for the rare classes."""
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
            files = {image: np.stack([label] * 3, 2), layout.labels[0].label(image): label}
            for path, picture in ((home / file, picture) for file, picture in files.items()):
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture).save(path.with_suffix(".png"))
                path.with_suffix(".png").rename(path)
    return tmp_path


def flags(root: Path, *more: str) -> Namespace:
    line = ["--dataset", *RARE, "--data_root", str(root), "--exp_root", str(root / "runs"), "--num_workers", "0"]
    line += ["--class_uniform_pct", "1", "--class_uniform_tile", "30", "--max_iter", "9", "--bs_mult", "2"]
    return parse_training([*line, *more])


def domains_of(args: Namespace, **options: object) -> Domains:
    sources = [(spec(name), spec(name).pairs(args.data_root, "train")) for name in args.dataset]
    domains = Domains(sources, Augmentation(crop_size=CROP, **options), args.seed)
    return replace(domains, uniform=class_uniform(args, domains))


def requests(count: int, start: int = 0) -> list[Request]:
    return [Request(start + index // 4, index // 2 % 2, index % 2, False, False) for index in range(count)]


def test_places_are_those_of_a_search_by_hand() -> None:
    label = np.random.default_rng(1).choice([0, 0, 0, 4, 18, IGNORE], (23, 31)).astype(np.uint8)
    label[:8, :9] = IGNORE
    label[:8, 1:3] = label[:8, 6:8] = 9  # its centroid lies between its two parts
    columns, rows = [(0, 10), (10, 20), (20, 31)], [(0, 11), (11, 23)]
    expected = []
    for top, bottom in rows:
        for left, right in columns:
            for train_id in range(19):
                pixels = [(x, y) for y in range(top, bottom) for x in range(left, right) if label[y, x] == train_id]
                if pixels:
                    x, y = np.mean(pixels, axis=0)
                    best = min((px - x) ** 2 + (py - y) ** 2 for px, py in pixels)
                    expected.append((train_id, best, x, y, left, right, top, bottom))
    found = places(label, 12)
    assert len(found) == len(expected)
    for (train_id, px, py), (wanted, best, x, y, left, right, top, bottom) in zip(found, expected, strict=True):
        assert train_id == wanted == label[py, px] and left <= px < right and top <= py < bottom
        assert (px - x) ** 2 + (py - y) ** 2 == pytest.approx(best)
    assert len(places(np.full((5, 5), IGNORE, np.uint8), 12)) == 0


def test_classes_are_drawn_alike_and_then_their_tiles() -> None:
    images = [np.array([[0, 1, 2], [0, 3, 4], [18, 5, 6]]), np.zeros((0, 3), int), np.array([[0, 7, 8]])]
    tiles, rng = ClassTiles.of(images, classes=19), np.random.default_rng(0)
    drawn = Counter(tiles.draw(rng) for _ in range(6000))
    assert set(drawn) == {(0, (1, 2)), (0, (3, 4)), (0, (5, 6)), (2, (7, 8))} and tiles.classes.tolist() == [0, 18]
    assert drawn[0, (5, 6)] / 6000 == pytest.approx(0.5, abs=0.03)
    assert drawn[2, (7, 8)] / 6000 == pytest.approx(1 / 6, abs=0.03)


@pytest.mark.parametrize("options", [{}, {"pad": False}, {"scale_min": 0.3, "scale_max": 0.4}])
def test_every_crop_shows_its_class(root: Path, options: dict) -> None:
    domains = domains_of(flags(root), **options)
    seen: dict[int, Counter] = {0: Counter(), 1: Counter()}
    for request in requests(400):
        rng = np.random.default_rng([request.iteration, request.domain, request.slot])
        index, (x, y) = domains.choose(request, rng)
        row, samples = domains.sources[request.domain]
        label = row.decode(samples[index].label)
        crop = domains.augmentation(Image.new("RGB", SIZE), label, rng, place=(x, y))[1]
        assert label[y, x] in crop
        seen[request.domain][label[y, x]] += 1
    for domain, shown in enumerate(RARE.values()):
        usual = {10, 0 if domain else 1}
        assert seen[domain].keys() == {*shown, *usual}
        for count in seen[domain].values():
            assert count / 200 == pytest.approx(1 / len(seen[domain]), abs=0.12)


def test_share_and_end(root: Path) -> None:
    args = flags(root, "--class_uniform_pct", "0.3", "--max_cu_epoch", "2", "--epoch_size", "7")
    domains = domains_of(args)
    assert domains.uniform.stop == uniform_iterations(args) == 7  # the seventh iteration begins within the 14 images
    rng = np.random.default_rng(0)
    shares = []
    for iteration in (-5, 6, 7):
        request = Request(iteration, 1, 0, False, False)
        shares.append(np.mean([domains.choose(request, rng)[1] is not None for _ in range(2000)]))
    assert shares == pytest.approx([0.3, 0.3, 0], abs=0.04) and shares[2] == 0
    assert class_uniform(flags(root, "--class_uniform_pct", "0"), domains) is None


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_drawn_is_a_function_of_the_request(root: Path, workers: int) -> None:
    domains = domains_of(flags(root, "--class_uniform_pct", "0.5"), color_aug=0.5)
    options = {"batch_size": 2, "stop": 4, "meta": True}
    whole = list(train_loader(domains, start=0, **options))
    again = list(train_loader(domains_of(flags(root, "--class_uniform_pct", "0.5"), color_aug=0.5), start=2,
                              workers=workers, **options))  # fmt: skip
    assert len(again) == 2 and all(same(first, second) for first, second in zip(whole[2:], again, strict=True))
    places_of = [domains.choose(request, np.random.default_rng(5))[1] for request in requests(20)]
    assert places_of == [domains.choose(request, np.random.default_rng(5))[1] for request in requests(20)]


def test_without_the_flag_the_same_as_ever(root: Path) -> None:
    never = replace(domains_of(flags(root)), uniform=None)
    over = replace(never, uniform=ClassUniform([], share=1.0, stop=0))
    for request in requests(8):
        assert all(torch.equal(ours, other) for ours, other in zip(never[request], over[request], strict=True))


def test_tiles_are_found_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searched = []
    find = sampling.found
    monkeypatch.setattr(sampling, "found", lambda args, row, *rest: searched.append(row.name) or find(args, row, *rest))

    def search(*more: str) -> list[str]:
        searched.clear()
        domains_of(flags(root, *more))
        return list(searched)

    assert search() == ["bdd100k", "idd"]
    assert search() == search("--num_workers", "2") == []
    assert search("--class_uniform_tile", "31", "--dataset", "bdd100k", "idd", "idd") == ["bdd100k", "idd"]
    changed = spec("idd").pairs(root, "train")[0]
    Image.fromarray(np.random.default_rng(0).choice([0, 10], SIZE[::-1]).astype(np.uint8)).save(changed.label)
    assert search() == ["idd"]
    changed.image.unlink()
    assert search() == ["idd"]
    kept = list((root / "runs/class_tiles").iterdir())
    assert all(path.suffix == ".npz" for path in kept) and len(kept) == 6
    for path in kept:
        path.write_bytes(path.read_bytes()[:50])
    assert search() == ["bdd100k", "idd"]


def test_how_labels_are_read_decides_what_is_found(root: Path) -> None:
    samples = spec("idd").pairs(root, "train")
    rows = spec("gtav"), spec("gtav", gtav_labels="colour")
    assert len({key(row, samples, side) for row in rows for side in (8, 9)}) == 4


def test_mistakes_are_told_in_one_line(root: Path) -> None:
    (root / "runs").write_text("a file")
    with pytest.raises(UsageError, match=r"--exp_root .*cannot write there"):
        domains_of(flags(root))
    (root / "runs").unlink()
    labels = [sample.label for sample in spec("idd").pairs(root, "train")]
    for label in labels:
        Image.new("L", SIZE, IGNORE).save(label)
    with pytest.raises(UsageError, match="--class_uniform_pct: the labels of idd show no class"):
        domains_of(flags(root))
    labels[2].write_bytes(b"no image")
    for workers in ("0", "1"):
        with pytest.raises(UsageError, match="unreadable label"):
            domains_of(flags(root, "--num_workers", workers, "--class_uniform_tile", "20"))


def found_by_this_rank(args: Namespace) -> tuple[list[str], list[int]]:
    """The data sets whose labels this process looked at, and the numbers of tiles that it knows."""
    searched, find = [], sampling.found
    sampling.found = lambda args, row, *rest: searched.append(row.name) or find(args, row, *rest)
    return searched, [len(tiles.tiles) for tiles in domains_of(args).uniform.tiles]


def test_one_process_finds_them_for_all(root: Path, tmp_path: Path) -> None:
    (first, tiles), (second, same_tiles) = run_ranks(found_by_this_rank, 2, tmp_path, flags(root))
    assert first == ["bdd100k", "idd"] and second == [] and tiles == same_tiles and min(tiles) > 6


def draw_cityscapes(root: Path, kind: str, split: str, train_ids: list[int]) -> None:
    """An image of each class in a split of ``kind`` 'gtFine' or 'gtCoarse'."""
    for train_id in train_ids:
        stem = f"{split}/city/city_{train_id:06}"
        label = np.full(SIZE[::-1], np.flatnonzero(spec("cityscapes").table == train_id)[0], np.uint8)
        files = {f"leftImg8bit/{stem}_leftImg8bit.png": np.zeros((*SIZE[::-1], 3), np.uint8)}
        for path, picture in (files | {f"{kind}/{stem}_{kind}_labelIds.png": label}).items():
            (root / "cityscapes" / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(root / "cityscapes" / path)


@pytest.mark.parametrize("joined", [False, True])
def test_coarse_labels_of_some_classes(root: Path, joined: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_cityscapes(root, "gtFine", "train", [0, 14])
    draw_cityscapes(root, "gtCoarse", "train_extra", [10, 14, 15, 16])
    line = ["--dataset", "bdd100k", "cityscapes", "--class_uniform_pct", "0.5", "--coarse_boost_classes", "14,16"]
    args = flags(root, *line, *["--image_uniform_sampling"] * joined)
    domains = training_domains(args)
    domains = replace(domains, uniform=class_uniform(args, domains))
    rng, domain = np.random.default_rng(0), 0 if joined else 1
    seen: dict[bool, Counter] = {True: Counter(), False: Counter()}
    for _ in range(4000):
        index, place = domains.choose(Request(0, domain, 0, False, False), rng)
        row, sample = domains.find(domain, index)
        if row.name == "cityscapes":
            assert place is None or row.decode(sample.label)[place[1], place[0]] == int(sample.image.name[5:11])
            seen[place is not None][sample.label.parts[-4], int(sample.image.name[5:11])] += 1
    fine = {("gtFine", 0), ("gtFine", 14)}
    assert seen[False].keys() == fine  # coarse ones are drawn for their classes only
    assert seen[True].keys() == fine | {("gtCoarse", 14), ("gtCoarse", 16)}
    assert seen[True]["gtCoarse", 14] == pytest.approx(seen[True]["gtFine", 14], rel=0.3)  # tiles of a class alike
    if not joined:
        assert seen[True]["gtCoarse", 16] / 2000 == pytest.approx(1 / 3, abs=0.04)  # classes alike
    monkeypatch.setattr("engine.plan.validation", lambda args: iter([]))  # there are no images for it
    assert "of truck, train also from the coarse labels of cityscapes: 4 images (19,998 expected)" in plan(args)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--class_uniform_pct 1.5", "from 0 to 1"),
        (
            "--coarse_boost_classes 14 --dataset cityscapes",
            "changes nothing without --class_uniform_pct and cityscapes",
        ),
        ("--coarse_boost_classes 14 --class_uniform_pct 0.5", "changes nothing without --class_uniform_pct and citys"),
        ("--coarse_boost_classes 19 --class_uniform_pct 0.5 --dataset cityscapes", "19: give classes from 0 to 18"),
        ("--class_uniform_tile 0", "of 1 or more"),
        ("--max_cu_epoch -1", "of 0 or more"),
        ("--epoch_size 0", "of 1 or more"),
        ("--cv 1", "--cv 1: of Cityscapes only the standard split is known here; give 0"),
        ("--city_mode trainval", "--city_mode trainval: Cityscapes is trained on its training images only"),
    ],
)
def test_flags_that_cannot_be(line: str, told: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse_training(line.split())
    printed = capsys.readouterr().err
    assert stopped.value.code == 2 and told in printed and printed.count("\n") == 1


def test_the_lines_of_robustnet_and_their_plan(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = "--city_mode train --cv 0 --max_cu_epoch 10000 --class_uniform_pct 0.5 --class_uniform_tile 1024"
    args = flags(root, *line.split(), "--val_dataset")
    monkeypatch.setattr("engine.plan.validation", lambda args: iter([]))  # there are no images for it
    assert "50% of the images by class, from tiles of at most 1024 pixels a side\n" in plan(args)
    assert "until iteration 4\n" in plan(flags(root, "--max_cu_epoch", "1", "--epoch_size", "8"))
    losses = "--img_wt_loss --jointwtborder --strict_bdr_cls 5,7 --rlx_off_iter 1500"
    told = plan(flags(root, "--class_uniform_pct", "0", *losses.split()))
    assert "by how little each image shows them, 1 to 2\n" in told and "sampling" not in told
    assert "relaxed at borders before iteration 1,500, but not for pole, traffic sign\n" in told
    assert "loss  " not in plan(flags(root))


@pytest.mark.parametrize("name", ["class_uniform_pct", "epoch_size", "cls_wt_loss", "rlx_off_iter", "strict_bdr_cls"])
def test_a_run_keeps_its_flags(name: str) -> None:
    args = parse_training([])
    before = {**vars(args), "checkpoint": Path("run/iteration_0000001.pth")}
    defaults = training_parser().get_default
    refuse_changes(args, before, defaults)
    with pytest.raises(UsageError, match=f"--{name}: the run run was started with"):
        refuse_changes(args, {**before, name: 7}, defaults)
    refuse_changes(args, {key: value for key, value in before.items() if key != name}, defaults)
    with pytest.raises(UsageError, match=f"--{name}: the run run was started with"):
        changed = argparse.Namespace(**vars(args) | {name: 7})
        refuse_changes(changed, {key: value for key, value in before.items() if key != name}, defaults)
