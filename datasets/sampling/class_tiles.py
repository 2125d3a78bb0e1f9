"""Where each class is found in a data set, so that samples can be drawn by class.

An image is cut into the fewest equal tiles that are no longer than a given side; for every class that a tile shows, the
place is kept at which it is seen.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path

import numpy as np
from torch.utils.data import DataLoader, Dataset

from datasets.labels import IGNORE
from datasets.registry import DatasetSpec, Sample
from datasets.sampling.worker_loader import one_by_one

Place = tuple[int, int]  # a pixel's x and y

VERSION = 1  # of what is found; to be raised when that changes


@dataclass(frozen=True, eq=False)
class ClassTiles:
    """The tiles of a data set by the classes that they show."""

    tiles: np.ndarray  # M,3 int32, class by class: index of the image, x and y of the class in the tile
    starts: np.ndarray  # K+1: where each class begins, and the end

    @classmethod
    def of(cls, images: Iterable[np.ndarray], *, classes: int) -> "ClassTiles":
        """From what ``places`` found of so many classes in each image."""
        rows = [np.insert(found, 1, index, axis=1) for index, found in enumerate(map(np.asarray, images))]
        table = np.concatenate([np.zeros((0, 4), np.int32), *rows]).astype(np.int32)
        table = table[np.argsort(table[:, 0], kind="stable")]
        return cls(table[:, 1:], np.searchsorted(table[:, 0], np.arange(classes + 1)))

    @classmethod
    def joined(cls, tables: Sequence["ClassTiles"], counts: Sequence[int]) -> "ClassTiles":
        """The tiles of several data sets with these numbers of images, which are counted on from one to the next."""
        firsts = np.cumsum([0, *counts[:-1]])
        moved = [table.tiles + np.array([first, 0, 0]) for table, first in zip(tables, firsts, strict=True)]
        classes = range(len(tables[0].starts) - 1)
        order = [(train_id, part) for train_id in classes for part in zip(moved, tables, strict=True)]
        rows = [tiles[table.starts[k] : table.starts[k + 1]] for k, (tiles, table) in order]
        return cls(np.concatenate(rows).astype(np.int32), sum(table.starts for table in tables))

    def boosted(self, other: "ClassTiles", classes: Sequence[int], *, first: int) -> "ClassTiles":
        """These tiles, and those of some classes of another data set, whose images are counted from ``first`` on."""
        kept = np.repeat(np.isin(np.arange(len(other.starts) - 1), classes), np.diff(other.starts))
        starts = np.concatenate([[0], np.cumsum(kept)])[other.starts]
        more = ClassTiles(other.tiles[kept], starts)
        return ClassTiles.joined([self, more], [first, 0])

    @property
    def classes(self) -> np.ndarray:
        """The classes that occur."""
        return np.flatnonzero(np.diff(self.starts))

    def draw(self, rng: np.random.Generator) -> tuple[int, Place]:
        """The index of an image and a place in it: a class that occurs, then a tile that shows it."""
        chosen = self.classes[rng.integers(len(self.classes))]
        image, x, y = self.tiles[rng.integers(self.starts[chosen], self.starts[chosen + 1])]
        return int(image), (int(x), int(y))

    def save(self, path: Path) -> None:
        """Write ``path`` in full or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")  # machines may share the folder
        with partial.open("wb") as file:
            np.savez_compressed(file, tiles=self.tiles, starts=self.starts)
        os.replace(partial, path)

    @classmethod
    def load(cls, path: Path) -> "ClassTiles | None":
        """What was saved; None if nothing was, or if it cannot be read and must be made anew."""
        try:
            with np.load(path) as stored:
                return cls(stored["tiles"], stored["starts"])
        except Exception:  # a broken archive raises many kinds
            return None


def key(spec: DatasetSpec, samples: Sequence[Sample], side: int) -> str:
    """A short hash of what decides what is found: names and sizes of the labels, how they are read, ``side``."""
    facts = [f"{VERSION} {side} {spec.reading.hex()}"]
    facts += [f"{sample.name} {sample.label.stat().st_size}" for sample in samples]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def places(label: np.ndarray, side: int) -> np.ndarray:
    """Class, x and y (M,3 int32) of every class in every tile of ``label`` (H,W train ids).

    The place is the class's own pixel that is nearest to its centroid in the tile, which may lie outside of the class.
    """
    found = []
    for (top, bottom), (left, right) in product(*(pairwise(_cuts(length, side)) for length in label.shape)):
        tile = label[top:bottom, left:right]
        for train_id in np.flatnonzero(np.bincount(tile.ravel(), minlength=256)[:IGNORE]):
            x, y = _nearest_to_centroid(tile == train_id)
            found.append((train_id, left + x, top + y))
    return np.array(found, dtype=np.int32).reshape(-1, 3)


def _nearest_to_centroid(mask: np.ndarray) -> Place:
    """The pixel of ``mask`` (H,W bool) that is nearest to the mean of its pixels; mostly that is the mean itself."""
    in_column, in_row = np.count_nonzero(mask, axis=0), np.count_nonzero(mask, axis=1)
    centre_x = in_column @ np.arange(mask.shape[1]) / in_column.sum()
    centre_y = in_row @ np.arange(mask.shape[0]) / in_row.sum()
    x, y = round(centre_x), round(centre_y)
    if mask[y, x]:
        return x, y
    ys, xs = np.nonzero(mask)
    nearest = np.argmin(np.square(xs - centre_x) + np.square(ys - centre_y))
    return xs[nearest], ys[nearest]


def _cuts(length: int, side: int) -> np.ndarray:
    count = -(-length // side)
    return np.arange(count + 1) * length // count


@dataclass(frozen=True)
class _Places(Dataset):
    spec: DatasetSpec
    samples: Sequence[Sample]
    side: int

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> np.ndarray:
        return places(self.spec.decode(self.samples[index].label), self.side)


def places_loader(spec: DatasetSpec, samples: Sequence[Sample], *, side: int, workers: int = 0) -> DataLoader:
    """What ``places`` finds in each label, in order, as tensors."""
    return one_by_one(_Places(spec, samples, side), None, workers)
