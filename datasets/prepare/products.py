"""What can be made of a data set: masks of IDD, labels as train ids, packed copies."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from datasets import packed
from datasets.disk.polygons import rasterise
from datasets.images import read_pair
from datasets.registry import DatasetSpec, Sample
from utils.errors import UsageError

POLYGONS, MASK = "_gtFine_polygons.json", "_gtFine_labelcsTrainIds.png"
TRAIN_IDS = "train_ids"
_TOLD = "made of"  # key of the text in a label image


@dataclass(frozen=True)
class Mask:
    """The label image of a file of polygons, where the authors' release looks for it."""

    polygons: Path

    @property
    def target(self) -> Path:
        return self.polygons.with_name(self.polygons.name.removesuffix(POLYGONS) + MASK)

    def is_made(self) -> bool:
        return self.target.exists()  # perhaps by the owners' script; such a mask is left as it is

    def encode(self) -> bytes:
        return _png(rasterise(self.polygons))


@dataclass(frozen=True)
class TrainIds:
    """A label as an 8-bit image of train ids, in a tree of its own."""

    root: Path  # of the data
    home: Path  # of these labels
    spec: DatasetSpec
    sample: Sample

    @property
    def target(self) -> Path:
        relative = self.sample.label.relative_to(self.root)
        return self.home / TRAIN_IDS / relative.with_suffix(".png")

    def is_made(self) -> bool:
        try:
            with Image.open(self.target) as image:
                return image.info.get(_TOLD) == self._told()
        except Exception:  # missing or broken
            return False

    def encode(self) -> bytes:
        return _png(self.spec.decode(self.sample.label), told=self._told())

    def _told(self) -> str:
        return packed.describe(packed.facts(self.root, self.sample)[1:], form=self.spec.reading.hex())


@dataclass(frozen=True)
class Copy:
    """A packed copy of an image and its label."""

    root: Path  # of the data
    home: Path  # of the copies
    spec: DatasetSpec
    sample: Sample
    form: str

    @property
    def target(self) -> Path:
        return packed.location(self.home, self.root, self.spec, self.sample)

    @property
    def facts(self) -> list:
        return packed.facts(self.root, self.sample)

    def is_made(self) -> bool:
        made = packed.description(self.target)
        try:
            return made is not None and made == self._told()
        except UsageError:  # an original cannot be reached, which is told by ``encode``
            return False

    def encode(self) -> bytes:
        image, label = read_pair(self.spec, self.sample)
        return packed.encode(image, label, form=self.form, description=self._told())

    def _told(self) -> str:
        return packed.describe(self.facts, form=self.form)


def _png(train_ids: np.ndarray, *, told: str = "") -> bytes:
    buffer, text = BytesIO(), PngInfo()
    if told:
        text.add_text(_TOLD, told)
    Image.fromarray(train_ids).save(buffer, "png", pnginfo=text)
    return buffer.getvalue()
