"""Which images of an own data set belong to a split: by lists, by sub-folders, or by a rule."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from datasets.disk.layouts import some
from datasets.disk.splits import listed, place
from utils.errors import UsageError

SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
TRAINING_SHARE = 4 / 5  # of the images, by the rule


class Selection(NamedTuple):
    """The images of a split, by their paths below ``images/``."""

    images: list[str]
    split_by: str  # the list, folder or rule that chose them
    notes: tuple[str, ...] = ()  # for the user, a line each
    folder: str = ""  # the split's own folder, which is no part of the images' names


def splits_of(home: Path, images: Sequence[str], *, divided: bool) -> tuple[str, ...]:
    """The splits of an own data set; ``divided``: whether our rule divides it if nothing else does."""
    named = _lists_in(home) or _folders_of(images)
    return tuple(named) or (("train", "val") if divided else ("val",))


def select(name: str, home: Path, images: Sequence[str], split: str, *, divided: bool) -> Selection:
    """The images of a split; UsageError if there is no such split."""
    lists, folders = _lists_in(home), _folders_of(images)
    splits = splits_of(home, images, divided=divided)
    if split not in splits:
        remedy = "docs/datasets.md says which lists or sub-folders make a split"
        raise UsageError(f"{home}: has no split {split}, only {', '.join(splits)}: {remedy}")
    if lists:
        return _by_list(name, images, split, lists)
    if folders:
        return _by_folder(name, images, split, folders)
    return _by_rule(name, images, split) if divided else Selection(list(images), "nothing: all images are val")


def _lists_in(home: Path) -> dict[str, Path]:
    return {split: path for split in SPLITS if (path := home / f"{split}.txt").is_file()}


def _folders_of(images: Sequence[str]) -> dict[str, str]:
    """The sub-folders that are splits, by split; upper and lower case do not matter."""
    folders = {image.partition("/")[0].lower(): image.partition("/")[0] for image in images if "/" in image}
    chosen = {split: next((folders[name] for name in names if name in folders), "") for split, names in SPLITS.items()}
    return {split: folder for split, folder in chosen.items() if folder}


def _by_list(name: str, images: Sequence[str], split: str, lists: Mapping[str, Path]) -> Selection:
    """The images that a list names by their paths below ``images/``, with or without suffix."""
    known = {stem(image): image for image in images} | {image: image for image in images}
    chosen, notes = listed(
        f"{name} {split}", split, lists, known, lambda line: line.removeprefix("./").removeprefix("images/")
    )
    return Selection([image for image in images if image in chosen], f"the list {lists[split].name}", notes)


def _by_folder(name: str, images: Sequence[str], split: str, folders: Mapping[str, str]) -> Selection:
    chosen = [image for image in images if image.startswith(f"{folders[split]}/")]
    rest = [image for image in images if image.partition("/")[0] not in folders.values()]
    note = f"{name}: in no sub-folder of a split, and so left out ({len(rest):,}): {some(rest)}"
    return Selection(chosen, "folders", (note,) if rest else (), folders[split])


def _by_rule(name: str, images: Sequence[str], split: str) -> Selection:
    """Four in five images for training, the others for validation, in the order of the SHA-256 of
    ``304 custom <path without suffix>``; a single image is in both."""
    if len(images) == 1:
        note = f"{name}: has one image, which is both trained on and validated on"
        return Selection(list(images), "our rule for one image", (note,))
    order = sorted(images, key=lambda image: place("custom", stem(image)))
    count = min(len(order) - 1, max(1, round(TRAINING_SHARE * len(order))))
    chosen = set(order[:count] if split == "train" else order[count:])
    note = (
        f"{name}: has neither train.txt and val.txt nor images/train and images/val, so a rule of this project takes "
        f"{count:,} of its {len(images):,} images for training and the others for validation"
    )
    return Selection([image for image in images if image in chosen], "our rule, seed 304", (note,))


def stem(path: str) -> str:
    """A path without its suffix."""
    folder, slash, file = path.rpartition("/")
    return folder + slash + (file.rpartition(".")[0] or file)
