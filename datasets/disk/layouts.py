"""Where the images of a data set lie in a folder, and which label belongs to which image."""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from utils.errors import UsageError


class Sample(NamedTuple):
    """An image, its label and a name that is unique within the data set and usable as a file name."""

    image: Path
    label: Path
    name: str


@dataclass(frozen=True, eq=False)
class Layout:
    """One form in which a data set lies on disk."""

    name: str
    images: str  # glob below the folder of the data set; {split} is the owners' name of the split
    labels: tuple[str, ...]  # the same for the labels, in order of preference, the longest suffix first
    splits: Mapping[str, tuple[str, ...]]  # our name of a split -> the owners' names; the first with images counts
    counts: Mapping[str, int] | None = None  # images expected, if not those of the data set
    refused: str = ""  # why the labels of this layout cannot be used

    @property
    def flat(self) -> bool:
        """Whether the images of several splits lie together."""
        return "{split}" not in self.images and len(self.splits) > 1

    def label_places(self, image: str, split: str) -> list[str]:
        """Where the label of an image may lie; paths in the folder of the data set, ``split`` is the owners' name.

        A label has the path of its image, but for what stands before the first and behind the last star.
        """
        patterns = (pattern.format(split=split) for pattern in (self.images, *self.labels))
        (start, end), *ends = [(pattern.partition("*")[0], pattern.rpartition("*")[2]) for pattern in patterns]
        middle = image.removeprefix(start).removesuffix(end)
        return [f"{start}{middle}{end}" for start, end in ends]


class Part(NamedTuple):
    """A folder in a layout."""

    home: Path
    layout: Layout

    def first(self, split: str) -> tuple[str, Path] | None:
        """The owners' name of a split, and one of its images; None if there is none."""
        for name in self.layout.splits[split]:
            if image := next(self._glob(name), None):
                return name, image
        return None

    def images(self, split: str) -> tuple[str, list[Path]]:
        """The owners' name of a split, and its images, sorted."""
        first = self.first(split)
        return (first[0], sorted(self._glob(first[0]))) if first else ("", [])

    def _glob(self, name: str) -> Iterator[Path]:
        """The visible images of a split."""
        images = self.home.glob(self.layout.images.format(split=name))
        return (path for path in images if not any(map(hidden, path.relative_to(self.home).parts)))

    def has_labels(self) -> bool:
        """Whether there is a folder for the labels of any split."""
        for name, image in filter(None, map(self.first, self.layout.splits)):
            relative = image.relative_to(self.home).as_posix()
            if any((self.home / place).parent.is_dir() for place in self.layout.label_places(relative, name)):
                return True
        return False


class Pairs(list[Sample]):
    """The images of a split with their labels, and where they come from."""

    layout = ""  # its name
    home = ""  # the folder of the data set
    split_by = ""  # the list, file or rule that chose them
    expected: int | None = None  # the number of images that there should be, if it is known
    notes: Sequence[str] = ()  # for the user, a line each


class Pairing(NamedTuple):
    """The images and labels of a split."""

    samples: list[Sample]
    bare: list[Sample]  # images without a label, with the place where it should be
    orphans: list[Path]  # labels without an image
    notes: tuple[str, ...] = ()  # for the user, a line each


def pair(listed: Sequence[tuple[Part, str, Sequence[Path]]]) -> Pairing:
    """The images of parts, listed with the owners' name of the split, with their labels; an image of two parts once."""

    @cache  # each folder is listed once, which is faster than a question per file
    def files_in(folder: str) -> set[str]:
        return {name for name in os.listdir(folder) if not hidden(name)} if os.path.isdir(folder) else set()

    samples: dict[str, Sample] = {}
    bare: list[Sample] = []
    known_suffixes: dict[str, None] = {}  # of labels, in order of preference
    stems: dict[str, set[str]] = defaultdict(set)  # folder of labels -> the stems of all labels that have an image
    for part, split, images in listed:
        suffixes = [label.rpartition("*")[2] for label in part.layout.labels]
        known_suffixes |= dict.fromkeys(suffixes)
        home, base = f"{part.home.as_posix()}/", part.layout.images.format(split=split).partition("*")[0]
        for image in images:
            relative = image.as_posix().removeprefix(home)
            places = [(home + place).rpartition("/")[::2] for place in part.layout.label_places(relative, split)]
            for suffix, (folder, file) in zip(suffixes, places, strict=True):
                stems[folder].add(file.removesuffix(suffix))
            place = next(((folder, file) for folder, file in places if file in files_in(folder)), None)
            sample = Sample(image, Path(*(place or places[0])), unique_name(relative.removeprefix(base)))
            if place:
                samples.setdefault(sample.name, sample)
            else:
                bare.append(sample)
    orphans = []
    for folder, known in stems.items():
        for file in sorted(files_in(folder)):
            suffix = next(filter(file.endswith, known_suffixes), None)
            if suffix and file.removesuffix(suffix) not in known:
                orphans.append(Path(folder, file))
    return Pairing(list(samples.values()), [sample for sample in bare if sample.name not in samples], orphans)


def hidden(name: str) -> bool:
    """Whether a file or folder is none of the user's: ._a.jpg and __MACOSX by macOS, .ipynb_checkpoints by Jupyter."""
    return name[0] == "." or name == "__MACOSX"


def visible_names(folder: Path) -> str:
    """The first names of what the user sees in a folder, or "nothing"."""
    return some(sorted(path.name for path in folder.iterdir() if not hidden(path.name)), 4) or "nothing"


def visible_files(folder: Path) -> Iterator[Path]:
    """The files of the user below a folder; links are followed.  UsageError if a folder cannot be read."""

    def refuse(error: OSError) -> None:
        raise UsageError(f"{error.filename}: cannot be read ({error.strerror}): make it readable, or take it away")

    for home, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        real = os.path.realpath(home)
        around = {real, *map(str, Path(real).parents)}  # a link to one of these has no end
        folders[:] = [
            name for name in folders if not hidden(name) and os.path.realpath(os.path.join(home, name)) not in around
        ]
        yield from (Path(home, name) for name in names if not hidden(name))


def composed(text: str) -> str:
    """The text in Unicode's composed form (NFC); macOS stores an accented letter as a letter and an accent."""
    return unicodedata.normalize("NFC", text)


def folders_named(root: Path, names: Sequence[str]) -> list[Path]:
    """The folders below ``root`` with one of these names in upper or lower case, in the order of the names."""
    if not root.is_dir():
        return []
    folders = sorted((path for path in root.iterdir() if path.is_dir()), key=lambda path: path.name)
    exact = {path.name: path for path in folders}
    any_case = {path.name.lower(): path for path in reversed(folders)}
    chosen = (exact.get(name) or any_case.get(name.lower()) for name in names)
    return list(dict.fromkeys(path for path in chosen if path))


def unique_name(relative: str) -> str:
    """Folders and stem joined, without a folder that the stem already begins with (the cities of Cityscapes)."""
    *folders, file = composed(relative).split("/")
    name = file.rpartition(".")[0]
    for folder in reversed(folders):
        name = name if name.startswith(f"{folder}_") else f"{folder}_{name}"
    return name


def some(items: Sequence[str], most: int = 10) -> str:
    """The first items, and how many more there are."""
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")
