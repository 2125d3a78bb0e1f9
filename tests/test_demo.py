"""The demo data: a real task (not solved by colour, with a gap between domains) in the six real layouts."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from datasets.demo import STYLES, draw_scene, write_demo
from datasets.demo.__main__ import main
from datasets.demo.encodings import stored_ids
from datasets.demo.trees import SPLITS
from datasets.labels import CLASSES, GTAV_COLOUR, GTAV_IDS, GTAV_PALETTE, IGNORE, MAPILLARY_CLASSES
from datasets.registry import SPECS
from utils.errors import UsageError

ROOT = Path(__file__).parents[1]
SMALL = (64, 128)


def scene(name: str, split: str, index: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    return draw_scene(
        STYLES[name], np.random.default_rng([304, list(STYLES).index(name), SPLITS.index(split), index]), size
    )


def scenes(name: str, split: str, count: int, size: tuple[int, int] = (128, 256)) -> tuple[np.ndarray, np.ndarray]:
    """Images N,H,W,3 and train ids N,H,W."""
    images, labels = zip(*(scene(name, split, index, size) for index in range(count)), strict=True)
    return np.stack(images), np.stack(labels)


def class_ious(labels: np.ndarray, predictions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """IoU and share of pixels of the 19 classes; 0 for a class that is nowhere."""
    known = labels != IGNORE
    pairs = labels[known].astype(np.int64) * 19 + predictions[known]
    counts = np.bincount(pairs, minlength=361).reshape(19, 19)
    hits, truth = counts.diagonal(), counts.sum(1)
    return hits / np.maximum(truth + counts.sum(0) - hits, 1), truth / truth.sum()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("demo")
    write_demo(root, train=2, val=1, size=SMALL, workers=1)
    return root


@pytest.mark.parametrize("name", STYLES)
def test_real_loaders_read_what_was_drawn(written: Path, name: str) -> None:
    for split, count in (("train", 2), ("val", 1)):
        pairs = SPECS[name].pairs(written, split)
        drawn = [scene(name, split, index, SMALL) for index in range(count)]
        assert len(pairs) == count
        read = [(np.asarray(Image.open(pair.image)), SPECS[name].decode(pair.label)) for pair in pairs]
        if name == "mapillary":  # its names are keys, so their order is not that of drawing
            drawn.sort(key=lambda pair: pair[0].tobytes())
            read = [min(read, key=lambda pair: np.abs(pair[0] - image.astype(float)).mean()) for image, _ in drawn]
        for (image, labels), (image_read, labels_read) in zip(drawn, read, strict=True):
            assert labels_read.dtype == np.uint8
            np.testing.assert_array_equal(labels_read, labels)
            error = np.abs(image_read.astype(float) - image).mean()
            assert error < 4 if pairs[0].image.suffix == ".jpg" else error == 0


def test_encodings_are_those_of_the_data_sets(written: Path) -> None:
    def label(name: str) -> Path:
        return SPECS[name].pairs(written, "train")[0].label

    with Image.open(label("gtav")) as gtav:
        assert gtav.mode == "P"
        assert gtav.getpalette()[: GTAV_PALETTE.size] == GTAV_PALETTE.ravel().tolist()
        np.testing.assert_array_equal(GTAV_IDS[np.asarray(gtav)], GTAV_COLOUR[np.asarray(gtav)])
    with Image.open(label("mapillary")) as mapillary:
        assert mapillary.mode == "P"
        assert np.asarray(mapillary).max() < len(MAPILLARY_CLASSES)
    config = json.loads((written / "mapillary" / "config.json").read_text())
    assert [row["readable"] for row in config["labels"]] == list(MAPILLARY_CLASSES)
    header = label("synthia").read_bytes()[:26]
    assert header[24:26] == bytes([16, 2])  # bits per channel, RGB
    assert MAPILLARY_CLASSES[stored_ids(SPECS["mapillary"])[CLASSES.index("sidewalk")]] == "Sidewalk"
    for spec in (SPECS[name] for name in STYLES):
        stored = stored_ids(spec)
        np.testing.assert_array_equal(spec.table[stored[:19]], np.arange(19))
        assert spec.table[stored[IGNORE]] == IGNORE


def test_pixels_do_not_depend_on_the_number_of_workers(written: Path, tmp_path: Path) -> None:
    write_demo(tmp_path, domains=("cityscapes",), train=2, val=1, size=SMALL, workers=2)
    for ours, theirs in zip(
        SPECS["cityscapes"].pairs(tmp_path, "train"), SPECS["cityscapes"].pairs(written, "train"), strict=True
    ):
        assert ours.name == theirs.name
        np.testing.assert_array_equal(np.asarray(Image.open(ours.image)), np.asarray(Image.open(theirs.image)))
        np.testing.assert_array_equal(np.asarray(Image.open(ours.label)), np.asarray(Image.open(theirs.label)))


def test_domains_that_nobody_trains_on_need_no_training_images(written: Path, tmp_path: Path) -> None:
    flags = ["--train", "1", "--val", "1", "--size", "64", "128", "--workers", "1"]
    assert main([str(tmp_path), *flags, "--domains", "gtav", "--val_only", "bdd100k"]) == 0
    count = {name: len(list((tmp_path / name / "images").rglob("*.*"))) for name in ("GTAV", "bdd-100k")}
    assert count == {"GTAV": 2, "bdd-100k": 1}
    (ours,), (theirs,) = (SPECS["bdd100k"].pairs(root, "val") for root in (tmp_path, written))
    assert ours.image.read_bytes() == theirs.image.read_bytes()


def test_a_second_run_draws_nothing(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in written.rglob("*")}
    assert main([str(written), "--train", "2", "--val", "1", "--size", "64", "128", "--workers", "1"]) == 0
    assert {path: path.stat().st_mtime_ns for path in written.rglob("*")} == before
    assert capsys.readouterr().out.count("already there") == 6


def test_an_interrupted_run_is_finished(tmp_path: Path) -> None:
    choice = {"domains": ("bdd100k",), "train": 2, "val": 0, "size": SMALL, "workers": 1}
    write_demo(tmp_path, **choice)
    note, lost = tmp_path / "bdd-100k" / "demo.json", SPECS["bdd100k"].pairs(tmp_path, "train")[1].image
    note.write_text(note.read_text().replace("true", "false"))
    lost.unlink()
    write_demo(tmp_path, **choice)
    assert lost.is_file()


@pytest.mark.parametrize("found", ["somebody's data", "another demo"])
def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str], found: str) -> None:
    precious = tmp_path / "synthia" / "RGB" / "train" / "0000001.png"
    precious.parent.mkdir(parents=True)
    precious.write_text("precious")
    if found == "another demo":
        (tmp_path / "synthia" / "demo.json").write_text('{"seed": 1, "complete": true}')
    assert main([str(tmp_path), "--train", "2", "--val", "1", "--size", "64", "128"]) == 2
    message = capsys.readouterr().err.strip()
    assert message.startswith("datasets.demo: error: ") and "\n" not in message
    assert precious.read_text() == "precious"
    assert not (tmp_path / "GTAV").exists()  # refused before anything is drawn
    with pytest.raises(UsageError):
        write_demo(tmp_path, train=2, val=1)


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys, datasets.demo.__main__ as demo; demo.parser().format_help(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


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
    ious, _ = class_ious(labels, counts.argmax(1)[cells(images)])
    assert ious.mean() <= 0.35


def block(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class SmallNet(nn.Module):
    """A fine and a coarse branch, joined at half of the size."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(block(3, 24, 2), block(24, 24))
        self.coarse = nn.Sequential(block(24, 48, 2), block(48, 64, 2), block(64, 64), block(64, 96, 2), block(96, 96))
        self.head = nn.Sequential(block(120, 32), nn.Conv2d(32, len(CLASSES), 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        fine = self.fine(images)
        coarse = F.interpolate(self.coarse(fine), fine.shape[-2:], mode="bilinear")
        return F.interpolate(self.head(torch.cat([fine, coarse], 1)), images.shape[-2:], mode="bilinear")


def tensors(name: str, split: str, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = scenes(name, split, count)
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1, torch.from_numpy(labels).long()


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Small layers gain nothing from more, and on a busy machine threads that wait for each other lose much."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_a_network_loses_ten_points_in_other_domains() -> None:
    torch.manual_seed(0)
    images, labels = tensors("synthia", "train", 50)
    net = SmallNet()
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for step in range(200):
        pick, left = torch.randint(len(images), (4,)), int(torch.randint(129, ()))
        window = slice(left, left + 128)
        loss = F.cross_entropy(net(images[pick][..., window]), labels[pick][..., window], ignore_index=IGNORE)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step == 140:
            optimiser.param_groups[0]["lr"] = 5e-4
    net.eval()
    scores = {}
    for name in STYLES:
        images, labels = tensors(name, "val", 8)
        with torch.no_grad():
            ious, shares = class_ious(labels.numpy(), net(images).argmax(1).numpy())
        scores[name] = ious[shares >= 0.01].mean()
    home = scores.pop("synthia")
    assert home >= 0.3, scores  # it has learned its own domain
    assert home - np.mean(list(scores.values())) >= 0.1, (home, scores)
