"""Where the classes are in the images of a data set, so that samples can be drawn by class.

An image is cut into the fewest equal tiles whose sides are at most a given length.  For every class in a tile, the
table of tiles keeps one place at which the class is seen.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise, product
from pathlib import Path

import numpy as np
from torch.utils.data import DataLoader

from datasets.labels import IGNORE
from datasets.registry import DatasetSpec, Sample
from datasets.sampling.worker_loader import one_by_one
from utils.files import whole_file

Place = tuple[int, int]  # a pixel's x and y

VERSION = 1  # raise it when ``places`` returns other places


@dataclass(frozen=True, eq=False)
class ClassTiles:
    """The tiles of a data set, class by class."""

    rows: np.ndarray  # M,4 int32, sorted by class: class, index of the image, x and y of the class in the tile

    @classmethod
    def of(cls, images: Iterable[np.ndarray]) -> "ClassTiles":
        """From the result of ``places`` for each image."""
        rows = [np.insert(image, 1, index, axis=1) for index, image in enumerate(map(np.asarray, images))]
        return cls._sorted(np.concatenate([np.zeros((0, 4), np.int32), *rows]))

    @classmethod
    def _sorted(cls, rows: np.ndarray) -> "ClassTiles":
        return cls(rows[np.argsort(rows[:, 0], kind="stable")].astype(np.int32))

    @classmethod
    def joined(cls, tables: Sequence["ClassTiles"], counts: Sequence[int]) -> "ClassTiles":
        """The tiles of several data sets as one, given the number of images of each."""
        firsts = np.cumsum([0, *counts[:-1]])
        rows = [table.rows + np.array([0, first, 0, 0]) for table, first in zip(tables, firsts, strict=True)]
        return cls._sorted(np.concatenate(rows))

    def boosted(self, other: "ClassTiles", classes: Sequence[int], *, first: int) -> "ClassTiles":
        """These tiles and those of some classes of another data set, whose images are numbered from ``first`` on."""
        chosen = ClassTiles(other.rows[np.isin(other.rows[:, 0], classes)])
        return ClassTiles.joined([self, chosen], [first, 0])

    @cached_property
    def classes(self) -> np.ndarray:
        """The classes that occur."""
        return np.unique(self.rows[:, 0])

    def draw(self, rng: np.random.Generator) -> tuple[int, Place]:
        """The index of an image and a place in it: first a class that occurs is drawn, then a tile that shows it."""
        chosen = self.classes[rng.integers(len(self.classes))]
        start, stop = np.searchsorted(self.rows[:, 0], [chosen, chosen + 1])
        _, image, x, y = self.rows[rng.integers(start, stop)]
        return int(image), (int(x), int(y))

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial, partial.open("wb") as file:
            np.savez_compressed(file, rows=self.rows)

    @classmethod
    def load(cls, path: Path) -> "ClassTiles | None":
        """The tiles in a file; None if there is no file, or a broken one."""
        try:
            with np.load(path) as stored:
                return cls(stored["rows"])
        except Exception:  # a broken archive raises many kinds
            return None


def key(spec: DatasetSpec, samples: Sequence[Sample], side: int) -> str:
    """A short hash of all that decides the tiles: names and sizes of the labels, how they are read, ``side``."""
    facts = [f"{VERSION} {side} {spec.reading.hex()}"]
    facts += [f"{sample.name} {sample.label.stat().st_size}" for sample in samples]
    return hashlib.sha256("\n".join(facts).encode(errors="surrogateescape")).hexdigest()[:16]


def places(label: np.ndarray, side: int) -> np.ndarray:
    """Class, x and y (M,3 int32) of every class in every tile of ``label`` (H,W train ids).

    The place is the pixel of the class that is nearest to its centroid in the tile.
    """
    rows = []
    for (top, bottom), (left, right) in product(*(pairwise(_cuts(length, side)) for length in label.shape)):
        tile = label[top:bottom, left:right]
        for train_id in np.flatnonzero(np.bincount(tile.ravel(), minlength=256)[:IGNORE]):
            x, y = _nearest_to_centroid(tile == train_id)
            rows.append((train_id, left + x, top + y))
    return np.array(rows, dtype=np.int32).reshape(-1, 3)


def _cuts(length: int, side: int) -> np.ndarray:
    count = -(-length // side)
    return np.arange(count + 1) * length // count


def _nearest_to_centroid(mask: np.ndarray) -> Place:
    """The pixel of ``mask`` (H,W bool) that is nearest to the mean of its pixels; usually the mean itself."""
    in_column, in_row = np.count_nonzero(mask, axis=0), np.count_nonzero(mask, axis=1)
    centre_x = in_column @ np.arange(mask.shape[1]) / in_column.sum()
    centre_y = in_row @ np.arange(mask.shape[0]) / in_row.sum()
    x, y = round(centre_x), round(centre_y)
    if mask[y, x]:
        return x, y
    ys, xs = np.nonzero(mask)
    nearest = np.argmin(np.square(xs - centre_x) + np.square(ys - centre_y))
    return xs[nearest], ys[nearest]


def places_loader(spec: DatasetSpec, samples: Sequence[Sample], *, side: int, workers: int = 0) -> DataLoader:
    """The result of ``places`` for each label, in order, as tensors."""
    return one_by_one(partial(_places_in, spec, samples, side), range(len(samples)), workers)


def _places_in(spec: DatasetSpec, samples: Sequence[Sample], side: int, index: int) -> np.ndarray:
    return places(spec.decode(samples[index].label), side)
