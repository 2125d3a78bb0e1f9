"""Which images of an own data set belong to a split: by lists, by sub-folders, or by a rule."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from datasets.disk.layouts import some
from datasets.disk.splits import FEW, lines_of, place
from utils.errors import UsageError

SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
TRAINED = 4 / 5  # share of the images of which the rule makes the training split


class Chosen(NamedTuple):
    """Images by their paths below ``images/``, what chose them, and what the user should know about that."""

    images: list[str]
    told: str
    notes: tuple[str, ...] = ()
    folder: str = ""  # that of the split, which is no part of the images' names


def lists_in(home: Path) -> dict[str, Path]:
    """The lists of an own data set by split."""
    return {split: path for split in SPLITS if (path := home / f"{split}.txt").is_file()}


def folders_in(images: Sequence[str]) -> dict[str, str]:
    """The sub-folders that are splits, by split; upper and lower case do not matter."""
    there = {folder.lower(): folder for image in images if (folder := image.partition("/")[0]) != image}
    found = {split: next((there[name] for name in names if name in there), None) for split, names in SPLITS.items()}
    return {split: name for split, name in found.items() if name}


def by_lists(name: str, images: Sequence[str], split: str, lists: Mapping[str, Path]) -> Chosen:
    """The images that a list names by their paths below ``images/``, with or without suffix."""
    spelt = {stem(image): image for image in images} | {image: image for image in images}
    path, lines = lists[split], _lines(lists[split])
    chosen = {spelt[line] for line in lines if line in spelt}
    for other, file in lists.items():
        both = sorted(chosen & {spelt.get(line) for line in _lines(file)}) if other != split else ()
        if both:
            raise UsageError(f"{path}: {some(both, 3)} is also in {file.name}: leave it in one of the lists")
    told, taken = f"the list {path.name}", [image for image in images if image in chosen]
    if not (missing := sorted(line for line in lines if line not in spelt)):
        return Chosen(taken, told)
    message = f"{len(missing):,} of the {len(lines):,} images in {path.name} are not there"
    if len(missing) > FEW * len(lines):
        raise UsageError(f"{path}: {message}, {some(missing, 3)}: complete the images, or take these lines away")
    return Chosen(taken, told, (f"{name} {split}: {message}: {some(missing)}",))


def _lines(path: Path) -> list[str]:
    lines = (line.removeprefix("./").removeprefix("images/") for line in lines_of(path, str(path)))
    return list(dict.fromkeys(lines))


def by_folder(name: str, images: Sequence[str], split: str, folders: Mapping[str, str]) -> Chosen:
    """The images of a sub-folder."""
    chosen = [image for image in images if image.startswith(f"{folders[split]}/")]
    rest = [image for image in images if image.partition("/")[0] not in folders.values()]
    told = f"{name}: in no sub-folder of a split, and so left out ({len(rest):,}): {some(rest)}"
    return Chosen(chosen, "folders", (told,) if rest else (), folders[split])


def whole(images: Sequence[str]) -> Chosen:
    """All images, of a data set that is not divided and that nothing is trained on."""
    return Chosen(list(images), "nothing: all images are val")


def by_rule(name: str, images: Sequence[str], split: str) -> Chosen:
    """Four in five images for training, the others for validation, by the SHA-256 of ``304 custom <path>``; a single
    image is in both."""
    if len(images) == 1:
        note = f"{name}: has one image, which is both trained on and validated on"
        return Chosen(list(images), "our rule for one image", (note,))
    order = sorted(images, key=lambda image: place("custom", stem(image)))
    cut = min(len(order) - 1, max(1, round(TRAINED * len(order))))
    chosen = set(order[:cut] if split == "train" else order[cut:])
    note = (
        f"{name}: has neither train.txt and val.txt nor images/train and images/val, so a rule of this project takes "
        f"{cut:,} of its {len(images):,} images for training and the others for validation"
    )
    return Chosen([image for image in images if image in chosen], "our rule, seed 304", (note,))


def stem(path: str) -> str:
    """A path without its suffix."""
    folder, slash, file = path.rpartition("/")
    return folder + slash + (file.rpartition(".")[0] or file)


def unreadable_folder(error: OSError) -> None:
    """Raises what a walk through folders would pass over in silence."""
    raise UsageError(
        f"{error.filename}: cannot be read ({error.strerror}): make it readable, or take it away"
    ) from error
