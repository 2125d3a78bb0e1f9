"""The folder trees of the demo data: those of the authors' README and those of the official archives."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from datasets.disk.layouts import Layout
from datasets.registry import DatasetSpec, spec

SPLITS = ("train", "val")
_CITY = "leftImg8bit/{split}/demo/demo_{number:06d}_000019_leftImg8bit.png"
_IDD = "leftImg8bit/{split}/demo/{number:06d}_leftImg8bit.png"
_BDD = "{key:.8}-{number:08x}.jpg"
_TREES = {  # folder, place of the layout in the data set's list, images
    "readme": {
        "gtav": ("GTAV", 0, "images/{split}/demo/{number:05d}.png"),
        "synthia": ("synthia", 0, "RGB/{split}/{number:07d}.png"),
        "idd": ("idd", 0, f"leftImg8bit_trainvaltest/{_IDD}"),
        "cityscapes": ("cityscapes", 0, f"leftImg8bit_trainvaltest/{_CITY}"),
        "bdd100k": ("bdd-100k", 0, f"images/{{split}}/{_BDD}"),
        "mapillary": ("mapillary", 0, "{split}/images/{key:.22}.jpg"),
    },
    "official": {
        "gtav": ("GTAV", 1, "images/{number:05d}.png"),
        "synthia": ("RAND_CITYSCAPES", 1, "RGB/{number:07d}.png"),
        "idd": ("IDD_Segmentation", 2, _IDD),
        "cityscapes": ("cityscapes", 1, _CITY),
        "bdd100k": ("bdd100k", 1, f"images/10k/{{split}}/{_BDD}"),
        "mapillary": ("mapillary", 1, "{split}/images/{key:.22}.jpg"),
    },
}
LAYOUTS = tuple(_TREES)


class Tree(NamedTuple):
    """Where the images and labels of one demo data set lie."""

    dataset: DatasetSpec
    folder: str  # below the root
    layout: Layout
    images: str  # pattern below the folder

    def image(self, split: str, index: int) -> str:
        """The path of an image below the folder."""
        number = image_number(split, index)
        key = hashlib.md5(f"{self.dataset.name} {number}".encode()).hexdigest()
        return self.images.format(split=self.layout.splits[split][0], number=number, key=key)

    def label(self, split: str, index: int) -> str:
        """The path of its label below the folder. IDD has polygons in its official layout, images in the other."""
        rule = self.layout.labels[-1 if self.folder == "IDD_Segmentation" else 0]
        return rule.of(self.layout.splits[split][0]).label(self.image(split, index))


def image_number(split: str, index: int) -> int:
    """The number of an image. No number belongs to two splits."""
    return index + 1 + 10000 * SPLITS.index(split)


def tree(name: str, layout: str) -> Tree:
    """The tree of a data set in one of the ``LAYOUTS``."""
    dataset = spec(name)
    folder, place, images = _TREES[layout][name]
    return Tree(dataset, folder, dataset.layouts[place], images)
