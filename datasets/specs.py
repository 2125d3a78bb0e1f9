"""One frozen row per data set: where its files lie, which label belongs to which image, how labels are decoded.

The layouts are those of the published README (one folder per data set below ``--data_root``).
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from datasets import labels
from utils.errors import UsageError


class Sample(NamedTuple):
    """An image, its label and a name that is unique within the data set and usable as a file name."""

    image: Path
    label: Path
    name: str


@dataclass(frozen=True, eq=False)
class DatasetSpec:
    """A labelled data set on disk, told in facts only."""

    name: str
    folder: str  # below the data root
    splits: dict[str, str]  # our name of a split -> theirs; splits without labels are not named
    counts: dict[str, int]  # images expected in each split
    images: str  # glob below the folder; {split} is their name of the split
    label_rule: tuple[tuple[str, str], ...]  # replacements from the path of an image to that of its label
    table: np.ndarray  # uint8[256]: stored id -> train id
    ids: int  # how many ids there are: 0, 1, ..., and 255 for what is not labelled
    palette: np.ndarray | None = None  # colours of the indices, where labels are also found stored as colours
    sixteen_bit: bool = False
    eval_crop: int | None = None  # evaluated on a square crop of this side

    def pairs(self, root: Path | str, split: str) -> list[Sample]:
        """The images of a split with their labels, sorted by path."""
        if split not in self.splits:
            raise UsageError(f"{self.name} has no labelled split '{split}': choose one of {', '.join(self.splits)}")
        home = Path(root).expanduser() / self.folder
        pattern = self.images.format(split=self.splits[split])
        remedy = (
            f"the images of {self.name} are expected at {home / pattern}: put the data there, name another "
            f"--data_root, or draw a stand-in with `python -m datasets.demo {root}`"
        )
        if not home.is_dir():
            raise UsageError(f"{home}: no such folder; {remedy}")
        images = sorted(home.glob(pattern))
        if not images:
            raise UsageError(f"{home}: no image found; {remedy}")
        base = home / pattern.partition("*")[0]
        samples = [Sample(path, self.label_path(path, home), _unique_name(path.relative_to(base))) for path in images]
        missing = [sample for sample in samples if not sample.label.is_file()]
        if missing:
            raise UsageError(
                f"{missing[0].image}: has no label {missing[0].label} ({len(missing)} of {len(samples)} images of "
                f"{self.name} {split} have none): complete the labels or take these images away"
            )
        return samples

    def label_path(self, image: Path, home: Path) -> Path:
        """The label that belongs to an image; both lie below ``home``, the folder of this data set."""
        relative = image.relative_to(home).as_posix()
        for old, new in self.label_rule:
            relative = relative.replace(old, new, 1)
        return home / relative

    def decode(self, path: Path | str) -> np.ndarray:
        """The train ids of a label file: H,W uint8, 255 = ignore."""
        try:
            stored = _read_16_bit(path) if self.sixteen_bit else _read_8_bit(path)
        except (OSError, RuntimeError, SyntaxError, ValueError) as error:
            raise UsageError(f"{path}: unreadable label ({error}): fetch or convert the file again") from error
        if stored.ndim == 3:
            stored = self._indices(stored, path)
        unknown = labels.unknown(stored, self.ids)
        if len(unknown):
            found = ", ".join(map(str, unknown[:5]))
            raise UsageError(
                f"{path}: holds the ids {found}, but {self.name} has 0 to {self.ids - 1} and {labels.IGNORE}: give the "
                "labels of this data set in the version that the README names"
            )
        return labels.look_up(stored, self.table)

    def _indices(self, colours: np.ndarray, path: Path | str) -> np.ndarray:
        if self.palette is None:
            raise UsageError(
                f"{path}: is a colour image where {self.name} labels are class indices: give the label files, not "
                f"the coloured ones"
            )
        # Equal colours (pole and pole group, car and licence plate) share the first index; unknown ones are ignored.
        known, first = np.unique(_packed(self.palette), return_index=True)
        pixels = _packed(colours)
        place = np.minimum(np.searchsorted(known, pixels), len(known) - 1)
        return np.where(known[place] == pixels, first[place], labels.IGNORE).astype(np.uint8)


def _unique_name(relative: Path) -> str:
    """Folders and stem joined, without a folder that the stem already begins with (the cities of Cityscapes)."""
    name = relative.stem
    for parent in reversed(relative.parts[:-1]):
        name = name if name.startswith(f"{parent}_") else f"{parent}_{name}"
    return name


def _packed(colours: np.ndarray) -> np.ndarray:
    red, green, blue = np.moveaxis(colours[..., :3].astype(np.int32), -1, 0)
    return red << 16 | green << 8 | blue


def _read_8_bit(path: Path | str) -> np.ndarray:
    """Indices H,W of a grey or palette image, colours H,W,3 of a colour image."""
    with Image.open(path) as image:
        if image.mode not in ("L", "P", "RGB", "RGBA"):
            raise ValueError(f"mode {image.mode}, expected an 8-bit image")
        return np.asarray(image)


def _read_16_bit(path: Path | str) -> np.ndarray:
    """Class ids H,W: channel 0 of a 16-bit PNG, whose high byte is all that Pillow would keep (zeros)."""
    # Imported here: what only lists files or prints a plan must not wait for torch.
    from torch import uint16
    from torchvision.io import decode_image

    channels = decode_image(str(path), mode="UNCHANGED")
    if channels.dtype != uint16:
        raise ValueError("8 bit per channel, expected the 16-bit files of GT/LABELS")
    return np.minimum(channels[0].numpy(), labels.IGNORE).astype(np.uint8)


_CITYSCAPES_TREE = ("leftImg8bit_trainvaltest/leftImg8bit/", "gtFine_trainvaltest/gtFine/")
_IMAGES_TO_LABELS = ("images/", "labels/")

_ROWS = (
    DatasetSpec(
        name="cityscapes",
        folder="cityscapes",
        splits={"train": "train", "val": "val"},
        counts={"train": 2975, "val": 500},
        images="leftImg8bit_trainvaltest/leftImg8bit/{split}/*/*_leftImg8bit.png",
        label_rule=(_CITYSCAPES_TREE, ("_leftImg8bit.png", "_gtFine_labelIds.png")),
        table=labels.CITYSCAPES,
        ids=34,
    ),
    DatasetSpec(
        name="gtav",
        folder="GTAV",
        splits={"train": "train", "val": "valid", "test": "test"},
        counts={"train": 12388, "val": 6382, "test": 6181},
        images="images/{split}/**/*.png",
        label_rule=(_IMAGES_TO_LABELS,),
        table=labels.GTAV_IDS,
        ids=len(labels.GTAV_PALETTE),
        palette=labels.GTAV_PALETTE,
    ),
    DatasetSpec(
        name="synthia",
        folder="synthia",
        splits={"train": "train", "val": "val"},
        counts={"train": 6580, "val": 2820},
        images="RGB/{split}/*.png",
        label_rule=(("RGB/", "GT/LABELS/"),),
        table=labels.SYNTHIA,
        ids=23,
        sixteen_bit=True,
    ),
    DatasetSpec(
        name="bdd100k",
        folder="bdd-100k",
        splits={"train": "train", "val": "val"},
        counts={"train": 7000, "val": 1000},
        images="images/{split}/*.jpg",
        label_rule=(_IMAGES_TO_LABELS, (".jpg", "_train_id.png")),
        table=labels.IDENTITY,
        ids=len(labels.CLASSES),
    ),
    DatasetSpec(
        name="mapillary",
        folder="mapillary",
        splits={"train": "training", "val": "validation"},
        counts={"train": 18000, "val": 2000},
        images="{split}/images/*.jpg",
        label_rule=(_IMAGES_TO_LABELS, (".jpg", ".png")),
        table=labels.MAPILLARY,
        ids=len(labels.MAPILLARY_CLASSES),
        eval_crop=1536,
    ),
    DatasetSpec(
        name="idd",
        folder="idd",
        splits={"train": "train", "val": "val"},
        counts={"train": 6993, "val": 981},
        images="leftImg8bit_trainvaltest/leftImg8bit/{split}/*/*_leftImg8bit.png",
        label_rule=(_CITYSCAPES_TREE, ("_leftImg8bit.png", "_gtFine_labelcsTrainIds.png")),
        table=labels.IDENTITY,
        ids=len(labels.CLASSES),
    ),
)

SPECS: dict[str, DatasetSpec] = {row.name: row for row in _ROWS}


def spec(name: str, *, gtav_labels: str = "ids") -> DatasetSpec:
    """The data set of that name; ``gtav_labels`` chooses how GTAV is read: 'ids' or (as published) 'colour'."""
    if name not in SPECS:
        raise UsageError(f"unknown data set '{name}': choose from {', '.join(SPECS)}")
    tables = {"ids": labels.GTAV_IDS, "colour": labels.GTAV_COLOUR}
    if gtav_labels not in tables:
        raise UsageError(f"--gtav_labels {gtav_labels}: choose from {', '.join(tables)}")
    row = SPECS[name]
    return replace(row, table=tables[gtav_labels]) if name == "gtav" else row
