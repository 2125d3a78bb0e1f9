"""Data sets of one's own, drawn for tests."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (64, 40)  # width, height


def write_own(
    home: Path,
    names: Sequence[str] = ("a", "b", "c", "d", "e"),
    *,
    suffix: str = ".png",
    ids: Sequence[int] = (0, 1, 2),
    label: str = ".png",
) -> Path:
    """A folder of images whose left, middle and right are plain, with labels of so many ids; returns it."""
    for number, name in enumerate(names):
        stored = np.full(SIZE[::-1], ids[0], np.uint8)
        for part, columns in zip(ids, np.array_split(np.arange(SIZE[0]), len(ids)), strict=True):
            stored[:, columns] = part
        stored[:3] = 255
        colours = np.random.default_rng(number).integers(0, 60, (*SIZE[::-1], 3)) + 30 * (stored % 7)[..., None]
        image, target = home / "images" / f"{name}{suffix}", home / "labels" / f"{name}{label}"
        for path, picture in ((image, colours.clip(0, 255).astype(np.uint8)), (target, stored)):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)
    return home


def write_classes(home: Path, text: str) -> Path:
    (home / "classes.yaml").write_text(text)
    return home
