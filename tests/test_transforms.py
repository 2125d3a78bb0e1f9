"""Augmentation: the cut-first crop equals resize-then-crop, labels follow images, laws are the published ones."""

import colorsys
import json
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter, ImageOps
from torchvision.transforms.v2 import functional

from datasets import transforms
from datasets.labels import IGNORE, STANDARD
from datasets.transforms import Augmentation, Pair, evaluation_geometry, scale_crop_flip
from support.golden import golden_path, hold

JITTER = ("brightness", "contrast", "saturation", "hue")


def coded(width: int, height: int, cell: int = 24) -> Pair:
    """Blocks of random classes, and the same in colours."""
    cells = np.random.default_rng(0).integers(0, 19, (height // cell + 1, width // cell + 1)).astype(np.uint8)
    label = np.repeat(np.repeat(cells, cell, 0), cell, 1)[:height, :width].copy()
    return Image.fromarray(STANDARD.colourise(label)), label


class Scripted:
    """Stands in for a generator: returns given numbers and keeps the ranges of its calls."""

    def __init__(self, factor: float, offsets: Sequence[int] = (), flip: float = 0.9) -> None:
        self.factor, self.offsets, self.flip, self.highs = factor, list(offsets), flip, []

    def uniform(self, low: float, high: float) -> float:
        return self.factor

    def integers(self, high: int, *, endpoint: bool) -> int:
        self.highs.append(high)
        return self.offsets.pop(0)

    def random(self) -> float:
        return self.flip


def whole_then_crop(pair: Pair, crop: int, rng: np.random.Generator, scale: tuple[float, float]) -> Pair:
    """The plain way: resize all, pad all, crop, mirror; same draws."""
    factor = rng.uniform(*scale)
    size = int(pair[0].width * factor), int(pair[0].height * factor)
    margin = [(crop - side) // 2 + 1 if side < crop else 0 for side in size]
    x, y = (int(rng.integers(side + 2 * m - crop, endpoint=True)) for side, m in zip(size, margin, strict=True))
    mirror, results = rng.random() < 0.5, []
    for picture, fill, how in ((pair[0], 0, Image.BICUBIC), (Image.fromarray(pair[1]), IGNORE, Image.NEAREST)):
        padded = ImageOps.expand(picture.resize(size, how), (*margin, *margin), fill)
        window = padded.crop((x, y, x + crop, y + crop))
        results.append(ImageOps.mirror(window) if mirror else window)
    return results[0], np.asarray(results[1])


def assert_same(ours: Pair, reference: Pair) -> None:
    pixels, expected = (np.asarray(pair[0], dtype=int) for pair in (ours, reference))
    assert pixels.shape == expected.shape and ours[1].shape == reference[1].shape
    difference = pixels - expected
    assert np.abs(difference).max() <= 2 and np.abs(difference).mean() < 0.05
    # Where a pixel's centre falls on the border of two, Pillow decides by rounding errors: single rows and columns.
    assert (ours[1] != reference[1]).mean() < 0.03


@pytest.mark.parametrize("scale", [(0.5, 2.0), (0.995, 1.005)])
@pytest.mark.parametrize(("width", "height"), [(301, 167), (100, 240), (90, 80)])
def test_cut_first_equals_resize_first(width: int, height: int, scale: tuple[float, float]) -> None:
    image, label = coded(width, height, cell=10)
    # Low in contrast: Pillow resizes by rows or by columns first, whichever is less work, and clips in between.
    pair = image.point(lambda value: 64 + value // 2), label
    for seed in range(20):
        ours = scale_crop_flip(*pair, 128, np.random.default_rng(seed), scale=scale)
        assert_same(ours, whole_then_crop(pair, 128, np.random.default_rng(seed), scale))


@pytest.mark.parity
@pytest.mark.parametrize(("start", "ties"), [(0, 0.0), pytest.param(1, 0.005, marks=pytest.mark.slow)])
def test_geometry_of_the_release(start: int, ties: float) -> None:
    """Every second case is equal; in some of the others, rounding decides between two pixels for a row or column."""
    golden = json.loads(golden_path("g_transforms.json").read_text())
    for case in golden["cases"][start::2]:
        pair, crop = coded(*case["image_wh"]), golden["crop_size"]
        operations = {operation[0]: operation[2:] for operation in case["mask_ops"] if operation[3] != [crop, crop]}
        size, window, canvas = operations["resize"][1], operations["crop"][1], operations["crop"][0]
        margins = operations.get("expand", [None, [0, 0, 0, 0]])[1]
        rng = Scripted(case["scale"], window[:2])
        ours = scale_crop_flip(*pair, crop, rng)
        assert rng.highs == [canvas[0] - crop, canvas[1] - crop]
        label = Image.fromarray(pair[1]).resize(size, Image.NEAREST)
        theirs = np.asarray(ImageOps.expand(label, tuple(margins), IGNORE).crop(window))
        hold("g_transforms", "labels of a crop", (ours[1] != theirs).mean(), ties)
        kept = ours[1] != IGNORE
        assert (ours[0][~kept] == 0).all()


@pytest.mark.parametrize("place", [None, (0, 0), (20, 11), (39, 29)])
def test_all_crops_that_show_the_place_are_equally_likely(place: tuple[int, int] | None) -> None:
    """Against a list of them; from a picture whose red and green tell where a pixel comes from."""
    y, x = np.mgrid[:30, :40].astype(np.uint8)
    image, rng = Image.fromarray(np.stack([x, y, x], 2)), np.random.default_rng(0)
    augment = Augmentation(crop_size=16, scale_min=1, scale_max=1)
    crops = [augment(image, x, rng, place=place)[0] for _ in range(6000)]
    found = Counter((int(crop[..., 0].min()), int(crop[..., 1].min())) for crop in crops)
    expected = {(left, top) for left in range(25) for top in range(15)
                if place is None or (left <= place[0] < left + 16 and top <= place[1] < top + 16)}  # fmt: skip
    assert found.keys() <= expected
    if len(expected) < 600:
        assert found.keys() == expected
        assert max(found.values()) < 6000 / len(expected) + 6 * (6000 / len(expected)) ** 0.5


def test_labels_follow_images() -> None:
    pair = coded(300, 200, cell=40)
    augmentation = Augmentation(crop_size=160, scale_min=0.8, rotate=20.0)
    for seed in range(12):
        pixels, label = augmentation(*pair, np.random.default_rng(seed))
        assert pixels.shape == (160, 160, 3) and label.shape == (160, 160) and label.dtype == np.uint8
        picture = Image.fromarray(label)
        largest, smallest = picture.filter(ImageFilter.MaxFilter(19)), picture.filter(ImageFilter.MinFilter(19))
        inner = np.asarray(largest) == np.asarray(smallest)
        inner[[*range(9), *range(-9, 0)]] = inner[:, [*range(9), *range(-9, 0)]] = False
        difference = np.abs(pixels.astype(int) - STANDARD.colourise(label))
        assert inner.mean() > 0.1 and difference[inner].max() <= 2


def test_without_padding_the_scale_is_raised() -> None:
    pair = coded(120, 90)
    for seed in range(10):
        pixels, label = scale_crop_flip(*pair, 128, np.random.default_rng(seed), scale=(0.5, 0.6), pad=False)
        assert pixels.shape == (128, 128, 3) and not (label == IGNORE).any()


def test_photometric_laws() -> None:
    pair = coded(90, 90)

    def drawn(seed: int, hard: bool = False, **options: float) -> tuple[bytes, bytes]:
        pixels, label = Augmentation(crop_size=64, **options)(*pair, np.random.default_rng(seed), hard)
        return pixels.tobytes(), label.tobytes()

    plain, jittered, hard = (
        [drawn(seed, **options) for seed in range(40)] for options in ({}, {"color_aug": 0.5}, {"hard": True})
    )
    assert 10 <= sum(p[0] != j[0] for p, j in zip(plain, jittered, strict=True)) <= 30
    assert all(p[0] != h[0] for p, h in zip(plain, hard, strict=True))
    assert [p[1] for p in plain] == [j[1] for j in jittered] == [h[1] for h in hard]
    assert drawn(1, color_aug=0.1) == drawn(1, color_aug=0.9)
    assert drawn(1, hard=True, gblur=True) == hard[1]
    assert len({drawn(1, gblur=True), drawn(1, bblur=True), plain[1]}) == 3
    assert drawn(1, bblur=True, gblur=True) == drawn(1, bblur=True)


def test_jitter_and_blur_amounts() -> None:
    grey, rng = np.full((8, 8, 3), 100, np.uint8), np.random.default_rng(0)
    values = [transforms.jitter(grey, rng, (0.4, 0.0, 0.0, 0.0))[4, 4, 0] for _ in range(100)]
    assert 60 <= min(values) < 70 and 130 < max(values) <= 140
    dot = np.zeros((31, 31, 3), np.uint8)
    dot[15, 15] = 255
    for draw, low, high in ((0.0, 0.1, 0.2), (1.0, 1.2, 1.4)):
        spread = transforms.blur(dot, Scripted(0.0, flip=draw))[15, :, 0].astype(float)
        assert low <= np.sqrt((spread / spread.sum() * (np.arange(31) - 15.0) ** 2).sum()) <= high


def published_jitter(image: Image.Image, rng: np.random.Generator, strength: tuple[float, ...]) -> Image.Image:
    """The release's: by torchvision, with the draws of this project."""
    amounts = [(name != "hue") + rng.uniform(-width, width) for name, width in zip(JITTER, strength, strict=True)]
    for index in rng.permutation(4):
        image = getattr(functional, f"adjust_{JITTER[index]}")(image, amounts[index])
    return image


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8))


@pytest.mark.parametrize("strength", [transforms.NORMAL, transforms.HARD])
def test_jitter_is_the_published_one(strength: tuple[float, float, float, float]) -> None:
    for seed in range(20):
        ours = transforms.jitter(np.asarray(noise()), np.random.default_rng(seed), strength)
        theirs = np.asarray(published_jitter(noise(), np.random.default_rng(seed), strength))
        assert np.abs(ours.astype(float) - theirs).mean() < 3  # both round hues and saturations


def test_hue_is_turned_as_far_as_asked() -> None:
    """Closer to the exact colours than torchvision's, which rounds hues down to 1/255 of the circle."""
    image, errors = noise(), {transforms.turn_hue: [], functional.adjust_hue: []}
    for amount in (-0.3, -0.1, 0.004, 0.1, 0.3):
        colours = [colorsys.rgb_to_hsv(*colour) for colour in (np.asarray(image) / 255).reshape(-1, 3)]
        exact = 255 * np.array([colorsys.hsv_to_rgb((hue + amount) % 1, *others) for hue, *others in colours])
        for turn, found in errors.items():
            found.append(np.abs(np.asarray(turn(image, amount)).reshape(-1, 3) - exact).mean())
    ours, theirs = (np.mean(found) for found in errors.values())
    assert ours < theirs and ours < 1


def test_blur_is_that_of_pillow() -> None:
    for draw in np.linspace(0, 1, 25).tolist():
        theirs = np.asarray(noise().filter(ImageFilter.GaussianBlur(0.15 + 1.15 * draw)), dtype=int)
        difference = np.abs(transforms.blur(np.asarray(noise()), Scripted(0.0, flip=draw)).astype(int) - theirs)
        assert difference.max() <= 2 and (difference > 0).mean() < 0.03 and (difference > 1).mean() < 1e-3


def test_portrait_mapillary_both_ways() -> None:
    image, label = Image.new("RGB", (12, 16), "white"), np.tile(np.arange(12, dtype=np.uint8), (16, 1))
    padded, train_ids = evaluation_geometry(image, label, 16, pad_label="road")
    assert ((np.asarray(padded) == 0).all(2) == (np.arange(16) < 6)).all() and (train_ids[:, :6] == 0).all()
    assert (train_ids[:, 6:] == label[:, :10]).all()  # the other columns are lost
    padded, train_ids = evaluation_geometry(image, label, 16)
    assert (train_ids[:, 2:14] == label).all() and (train_ids[:, [0, 1, 14, 15]] == IGNORE).all()
    assert ((np.asarray(padded) == 0).all(2) == (train_ids == IGNORE)).all()


def test_landscape_mapillary_is_its_centre() -> None:
    image, label = coded(400, 200)
    for pad_label in ("ignore", "road"):
        ours = evaluation_geometry(image, label, 96, pad_label=pad_label)
        whole = image.resize((192, 96), Image.BICUBIC), Image.fromarray(label).resize((192, 96), Image.NEAREST)
        assert_same(ours, (whole[0].crop((48, 0, 144, 96)), np.asarray(whole[1].crop((48, 0, 144, 96)))))


def test_tensors() -> None:
    image, _ = coded(7, 5, cell=2)
    tensor = transforms.to_tensor(image)
    assert tensor.shape == (3, 5, 7) and tensor.dtype == torch.uint8
    assert tensor[:, 1, 6].tolist() == list(image.getpixel((6, 1)))
    normal = transforms.normalise(tensor.expand(2, 4, 3, 5, 7))
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    torch.testing.assert_close(normal, ((tensor / 255 - mean) / std).expand(2, 4, 3, 5, 7))
