"""Own data sets, named ``custom:PATH`` in the flags: folders with ``images/`` and ``labels/``."""

import os
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from datasets.decoding import indices, read_colours, read_label
from datasets.disk.layouts import (
    Layout,
    Pairing,
    Part,
    Sample,
    composed,
    some,
    unique_name,
    visible_files,
    visible_names,
)
from datasets.disk.splits import Division, listed, place
from datasets.labels import IDENTITY, IGNORE, STANDARD
from datasets.own.own_classes import AFFIXES, FILE, Meaning, read_meaning
from datasets.spec import DatasetSpec
from utils.errors import UsageError

PREFIX = "custom:"
IMAGES, LABELS = "images", "labels"
LABEL_FILES = (".png", ".bmp", ".tif", ".tiff", ".gif", ".pgm", ".ppm")  # formats without losses
LABEL_SUFFIXES = ("", "_label", "_labels", "_mask", "_gt", "_train_id", "_labelTrainIds", "_labelIds")
SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
TRAINING_SHARE = 4 / 5  # of the images, by the rule


def is_custom(name: str) -> bool:
    """Whether this is the name of an own data set."""
    return name.startswith(PREFIX)


def folder_of(name: str) -> Path:
    """The folder of an own data set, as an absolute path."""
    return Path(os.path.abspath(Path(name.removeprefix(PREFIX)).expanduser()))


def lasting_name(name: str, root: Path | str) -> str:
    """The name with an absolute path: from the working directory, or below the data root if it is only there."""
    path = Path(name.removeprefix(PREFIX)).expanduser()
    places = dict.fromkeys(Path(os.path.abspath(folder)) for folder in (path, Path(root).expanduser() / path))
    for folder in places:
        if folder.is_dir():
            return f"{PREFIX}{folder}"
    raise UsageError(f"{name}: no folder {' or '.join(map(str, places))}; name the folder of images/ and labels/")


def is_among(name: str, others: Iterable[str]) -> bool:
    """Whether another name means the same folder as the own data set ``name``, perhaps by another path."""
    folders = {folder_of(other).resolve() for other in filter(is_custom, others)}
    return is_custom(name) and folder_of(name).resolve() in folders


class Selection(NamedTuple):
    """The images of a split, by their paths below ``images/``."""

    images: list[str]
    split_by: str  # the list, folder or rule that chose them
    notes: tuple[str, ...] = ()  # for the user, a line each
    folder: str = ""  # the split's own folder, which is no part of the images' names


@dataclass(frozen=True, eq=False, kw_only=True)
class CustomSpec(DatasetSpec):
    """An own data set."""

    path: Path
    meaning: Meaning
    divided: bool  # by our rule, if nothing else divides it; otherwise all images are for validation

    @property
    def asked_as(self) -> str:
        return f"{PREFIX}{self.path}"

    @property
    def reading(self) -> bytes:
        colours = b"" if self.meaning.colours is None else self.meaning.colours.tobytes()
        return b"2" + self.table.tobytes() + self.meaning.known.tobytes() + colours + bytes([len(self.classes)])

    def base(self, root: Path) -> Path:
        return self.path

    def homes(self, root: Path | str) -> list[Path]:
        return [self.path]

    @cached_property
    def images(self) -> list[str]:
        """All images, by their paths below ``images/``; UsageError if there are none."""
        for name in (IMAGES, LABELS):
            if not (self.path / name).is_dir():
                there = visible_names(self.path)
                remedy = f"an own data set is a folder with {IMAGES}/ and {LABELS}/; docs/datasets.md has examples"
                raise UsageError(f"{self.path}: has no folder {name}, it has {there}: {remedy}")
        readable = {suffix for suffix, form in Image.registered_extensions().items() if form in Image.OPEN}
        images = _files(self.path / IMAGES, readable)
        if not images:
            remedy = f"it has {visible_names(self.path / IMAGES)}: give JPEG or PNG files"
            raise UsageError(f"{self.path / IMAGES}: no image that Pillow reads, {remedy}")
        return images

    @cached_property
    def split_folders(self) -> dict[str, str]:
        """The sub-folders of ``images/`` that are splits, by split; upper and lower case do not matter."""
        folders = {image.partition("/")[0].lower(): image.partition("/")[0] for image in self.images if "/" in image}
        named = {split: [folders[name] for name in names if name in folders] for split, names in SPLITS.items()}
        return {split: chosen[0] for split, chosen in named.items() if chosen}

    @property
    def splits(self) -> tuple[str, ...]:
        folders = self.split_folders  # raises an error if this is no data set, also if there are lists
        return tuple(self.lists or folders) or (("train", "val") if self.divided else ("val",))

    def select(self, split: str) -> Selection:
        """The images of a split; UsageError if there is no such split."""
        if split not in self.splits:
            remedy = "docs/datasets.md says which lists or sub-folders make a split"
            raise UsageError(f"{self.path}: has no split {split}, only {', '.join(self.splits)}: {remedy}")
        if self.lists:
            known = {stem(image): image for image in self.images} | {image: image for image in self.images}
            title, strip = f"{self.name} {split}", lambda line: line.removeprefix("./").removeprefix(f"{IMAGES}/")
            chosen, notes = listed(title, split, self.lists, known, strip)
            images = [image for image in self.images if image in chosen]
            return Selection(images, f"the list {self.lists[split].name}", notes)
        if folders := self.split_folders:
            images = [image for image in self.images if image.startswith(f"{folders[split]}/")]
            rest = [image for image in self.images if image.partition("/")[0] not in folders.values()]
            note = f"{self.name}: in no sub-folder of a split, and so left out ({len(rest):,}): {some(rest)}"
            return Selection(images, "folders", (note,) if rest else (), folders[split])
        return self._by_rule(split) if self.divided else Selection(self.images, "nothing: all images are val")

    def _by_rule(self, split: str) -> Selection:
        """Four in five images for training, the others for validation, in the order of the SHA-256 of
        ``304 custom <path without suffix>``."""
        order = sorted(self.images, key=lambda image: place("custom", stem(image)))
        count = min(len(order) - 1, max(1, round(TRAINING_SHARE * len(order))))
        note = (
            f"{self.name}: has neither train.txt and val.txt nor images/train and images/val, so a rule of this "
            f"project takes {count:,} of its {len(order):,} images for training and the others for validation"
        )
        images = sorted(order[:count] if split == "train" else order[count:])
        return Selection(images, "our rule, seed 304", (note,))

    def find(self, root: Path | str, split: str) -> list[Part]:
        self.select(split)  # which refuses unknown splits
        return [Part(self.path, self.layouts[0])]

    def pairing(self, parts: Sequence[Part], split: str) -> Pairing:
        selection = self.select(split)
        base = f"{selection.folder}/" if selection.folder else ""
        labels: dict[str, str] = {}
        for label in _files(self.path / LABELS, LABEL_FILES):
            if (other := labels.setdefault(stem(label), label)) != label:
                raise UsageError(f"{self.path / LABELS}: {other} and {label} label the same image: take one away")
        owned = {self.label_stems(image)[0] for image in self.images}  # beside an image a_mask, its label is not of a
        samples, bare, names = [], [], {}
        for image in selection.images:
            name = unique_name(image.removeprefix(base))
            if (other := names.setdefault(name, image)) != image:  # predictions are called so
                raise UsageError(f"{self.path / IMAGES}: {other} and {image} would both be called {name}: rename one")
            stems = self.label_stems(image)
            fitting = (labels[key] for key in stems if key in labels and (key == stems[0] or key not in owned))
            label = next(fitting, None)
            path = self.path / LABELS / (label or f"{stems[0]}.png")
            (samples if label else bare).append(Sample(self.path / IMAGES / image, path, name))
        known = {key for image in self.images for key in self.label_stems(image)}
        orphans = [label for key, label in labels.items() if key not in known and label.startswith(base)]
        return Pairing(samples, bare, [self.path / LABELS / label for label in orphans])

    def label_stems(self, image: str) -> list[str]:
        """The stems that the label of an image may have, in order of preference."""
        folder, slash, name = stem(image).rpartition("/")
        affixes = self.meaning.affixes
        name = name.removeprefix(affixes.get("image_prefix", "")).removesuffix(affixes.get("image_suffix", ""))
        suffixes = [affixes["label_suffix"]] if "label_suffix" in affixes else LABEL_SUFFIXES
        stems = [f"{folder}{slash}{affixes.get('label_prefix', '')}{name}{suffix}" for suffix in suffixes]
        return stems if affixes else [*stems, composed(image)]

    def divide(self, samples: Sequence[Sample], parts: Sequence[Part], split: str) -> Division:
        selection = self.select(split)
        return Division(list(samples), selection.split_by, selection.notes)

    def holds_train_ids(self, path: Path) -> bool:
        return False  # whatever its name is, ``classes.yaml`` says what a label holds

    def stored(self, path: Path) -> np.ndarray:
        """The ids in a label, or the places of its colours in ``classes.yaml``: H,W uint8."""
        if self.meaning.colours is None:
            return super().stored(path)
        colours, _ = read_label(path, read_colours)
        stored = indices(colours, self.meaning.colours)
        unknown = np.unique(colours[stored == IGNORE], axis=0)
        if len(unknown) and not self.meaning.known[IGNORE]:
            held = some([f'"{red},{green},{blue}"' for red, green, blue in unknown.tolist()])
            raise UsageError(f"{path}: holds colours that {self.name} does not have ({held}): {self.remedy}")
        return stored


def custom_spec(name: str, *, title: str, divided: bool = False) -> CustomSpec:
    """The own data set ``name`` under a title."""
    path = folder_of(name)
    meaning = read_meaning(path)
    # Like a sub-folder, the list of val may be called valid or validation.
    files = {file.stem.lower(): file for file in sorted(path.glob("*.[tT][xX][tT]"))}
    lists = {split: files[name] for split, names in SPLITS.items() for name in reversed(names) if name in files}
    train_ids = meaning.colours is None and meaning.classes is STANDARD and np.array_equal(meaning.table, IDENTITY)
    form = f"{IMAGES}/ and {LABELS}/{' with the 19 train ids' if train_ids else ''}"
    layout = Layout(form, f"{IMAGES}/**/*", (), {split: ("",) for split in SPLITS})
    return CustomSpec(
        name=title,
        folders=(path.name,),
        layouts=(layout,),
        counts={},
        table=meaning.table,
        ids=np.flatnonzero(meaning.known[:IGNORE]).tolist(),
        remedy=f"list the `ids` or `colours` of labels in {path / FILE}, or mend the label",
        classes=meaning.classes,
        naming=f", or say how names differ: {', '.join(AFFIXES)} in {FILE}",
        upright=True,
        lists=lists,
        path=path,
        meaning=meaning,
        divided=divided,
    )


def _files(folder: Path, suffixes: Container[str]) -> list[str]:
    """The files below a folder with one of these suffixes, by their paths in it, sorted."""
    files = (path for path in visible_files(folder) if path.suffix.lower() in suffixes)
    return sorted(path.relative_to(folder).as_posix() for path in files)


def stem(path: str) -> str:
    """A path without its suffix, composed, so that names that look alike are alike."""
    folder, slash, file = composed(path).rpartition("/")
    return folder + slash + (file.rpartition(".")[0] or file)
