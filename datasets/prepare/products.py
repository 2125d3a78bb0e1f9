"""The files that are made from a data set: masks of polygons, labels as train ids, packed copies.

Each product has a ``target``, ``is_made()``, and ``encode()``, which returns its bytes, always the same ones, or
raises a UsageError.
"""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from datasets import packed
from datasets.decoding import read_pair
from datasets.disk.polygons import rasterise
from datasets.registry import DatasetSpec, Sample
from utils.errors import UsageError

POLYGONS, MASK = "_gtFine_polygons.json", "_gtFine_labelcsTrainIds.png"
TRAIN_IDS = "train_ids"
_TEXT = "made of"  # key of the text in a label image


@dataclass(frozen=True)
class Mask:
    """The label image of a file of polygons, where the authors' release expects it."""

    polygons: Path

    @property
    def target(self) -> Path:
        return self.polygons.with_name(self.polygons.name.removesuffix(POLYGONS) + MASK)

    def is_made(self) -> bool:
        return self.target.exists()  # also if the owners' script made it

    def encode(self) -> bytes:
        return _png(rasterise(self.polygons))


@dataclass(frozen=True)
class _OfSample:
    """A file that is made from an image and its label."""

    root: Path  # of the data
    home: Path  # the data root of what is made
    spec: DatasetSpec
    sample: Sample
    form: str = ""  # of packed copies

    @property
    def facts(self) -> list[packed.Facts]:
        """The facts about image and label for which the file is valid."""
        return packed.facts(self.root, self.sample)


class TrainIds(_OfSample):
    """A label as an 8-bit image of train ids, in an own tree."""

    @property
    def target(self) -> Path:
        return self.home / TRAIN_IDS / self.sample.label.relative_to(self.root).with_suffix(".png")

    def is_made(self) -> bool:
        try:
            with Image.open(self.target) as image:
                return image.info.get(_TEXT) == self._description()
        except Exception:  # missing or broken
            return False

    def encode(self) -> bytes:
        return _png(self.spec.decode(self.sample.label), self._description())

    def _description(self) -> str:
        return packed.describe(self.facts[1:], form=self.spec.reading.hex())


class Copy(_OfSample):
    """A packed copy of an image and its label."""

    @property
    def target(self) -> Path:
        return packed.location(self.home, self.root, self.spec, self.sample)

    def is_made(self) -> bool:
        try:
            return packed.description(self.target) == self._description()
        except UsageError:  # an original cannot be reached; ``encode`` raises the same error
            return False

    def encode(self) -> bytes:
        image, label = read_pair(self.spec, self.sample)
        return packed.encode(image, label, form=self.form, description=self._description())

    def _description(self) -> str:
        return packed.describe(self.facts, form=self.form)


Product = Mask | TrainIds | Copy


def _png(train_ids: np.ndarray, text: str = "") -> bytes:
    buffer, info = BytesIO(), PngInfo()
    if text:
        info.add_text(_TEXT, text)
    Image.fromarray(train_ids).save(buffer, "png", pnginfo=info)
    return buffer.getvalue()
