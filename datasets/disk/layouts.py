"""Where the images of a data set lie in a folder, and which label belongs to which image."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple


class Sample(NamedTuple):
    """An image, its label and a name that is unique within the data set and usable as a file name."""

    image: Path
    label: Path
    name: str


class LabelRule(NamedTuple):
    """From the path of an image to that of its label; {split} stands for the owners' name of the split."""

    folder: tuple[str, str]
    suffix: tuple[str, str]

    def of(self, split: str) -> "LabelRule":
        """The rule for a split, by the owners' name of it."""
        old, new = (part.format(split=split) for part in self.folder)
        return LabelRule((old, new), self.suffix)

    def label(self, image: str) -> str:
        """Both paths are relative to the folder of the data set."""
        return image.replace(*self.folder, 1).removesuffix(self.suffix[0]) + self.suffix[1]


@dataclass(frozen=True, eq=False)
class Layout:
    """One way in which a data set is found on disk."""

    name: str
    images: str  # glob below the folder of the data set; {split} is their name of the split
    labels: tuple[LabelRule, ...]  # in order of preference, the longest suffix first
    splits: Mapping[str, tuple[str, ...]]  # our name of a split -> theirs, of which the first with images counts
    counts: Mapping[str, int] | None = None  # images expected, where that differs from the rest of the data set
    refused: str = ""  # why the labels of this layout cannot be used

    @property
    def flat(self) -> bool:
        """Whether the images of several splits lie together."""
        return "{split}" not in self.images and len(self.splits) > 1

    def pattern(self, split: str) -> str:
        """The glob of a split, with all names that it may have."""
        names = self.splits[split]
        return self.images.format(split=names[0] if len(names) == 1 else f"{{{','.join(names)}}}")


class Part(NamedTuple):
    """A folder with images in a layout."""

    home: Path
    layout: Layout

    def first(self, split: str) -> tuple[str, Path] | None:
        """Their name of a split, and one of its images; None if there is none."""
        for name in self.layout.splits[split]:
            found = visible(self.home.glob(self.layout.images.format(split=name)))
            if (image := next(found, None)) is not None:
                return name, image
        return None

    def is_there(self) -> bool:
        """Whether any split has an image."""
        return any(self.first(split) for split in self.layout.splits)

    def is_labelled(self) -> bool:
        """Whether there is a folder for the labels of any split."""
        found = [first for split in self.layout.splits if (first := self.first(split))]
        relative = [(name, image.relative_to(self.home).as_posix()) for name, image in found]
        labels = (self.home / rule.of(name).label(image) for name, image in relative for rule in self.layout.labels)
        return any(label.parent.is_dir() for label in labels)

    def images(self, split: str) -> tuple[str, list[Path]]:
        """Their name of a split, and its images, sorted."""
        first = self.first(split)
        if first is None:
            return "", []
        return first[0], sorted(visible(self.home.glob(self.layout.images.format(split=first[0]))))


class Pairs(list[Sample]):
    """The images of a split with their labels, and how they were found."""

    def __init__(
        self,
        samples: Iterable[Sample] = (),
        *,
        layout: str = "",
        home: str = "",
        split_by: str = "",
        expected: int | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        super().__init__(samples)
        self.layout = layout  # in which layout they lie
        self.home = home  # and where
        self.split_by = split_by  # what says which images belong to the split
        self.expected = expected  # how many there should be, if that is known
        self.notes = tuple(notes)  # what the user should know, a line each


@dataclass
class Pairing:
    """What was found of the images and labels of a split."""

    samples: list[Sample]
    bare: list[Sample]  # images without a label, with the place where it should be
    orphans: list[Path]  # labels without an image


def pair(listed: Sequence[tuple[Part, str, Sequence[Path]]]) -> Pairing:
    """The images (of parts, with the owners' name of the split) with their labels, an image of two parts once."""
    names_in = cache(_names)  # folders are listed once, instead of asking for every file
    samples: dict[str, Sample] = {}
    bare: list[Sample] = []
    stems: dict[str, set[str]] = defaultdict(set)  # of the images, by the folder of their labels
    for part, split, images in listed:
        rules = [rule.of(split) for rule in part.layout.labels]
        home, base = f"{part.home.as_posix()}/", part.layout.images.format(split=split).partition("*")[0]
        for image in images:
            relative = image.as_posix().removeprefix(home)
            places = [(home + rule.label(relative)).rpartition("/")[::2] for rule in rules]
            for rule, (folder, file) in zip(rules, places, strict=True):
                stems[folder].add(file.removesuffix(rule.suffix[1]))
            place = next((place for place in places if place[1] in names_in(place[0])), None)
            sample = Sample(image, Path(*(place or places[0])), unique_name(relative.removeprefix(base)))
            if place is None:
                bare.append(sample)
            else:
                samples.setdefault(sample.name, sample)
    suffixes = list(dict.fromkeys(rule.suffix[1] for part, _, _ in listed for rule in part.layout.labels))
    orphans = [
        Path(folder, name)
        for folder, known in stems.items()
        for name in sorted(names_in(folder))
        if (suffix := next(filter(name.endswith, suffixes), None)) and name.removesuffix(suffix) not in known
    ]
    return Pairing(list(samples.values()), [sample for sample in bare if sample.name not in samples], orphans)


def _names(folder: str) -> frozenset[str]:
    return frozenset(entry for entry in os.listdir(folder) if entry[0] != ".") if os.path.isdir(folder) else frozenset()


def visible(paths: Iterable[Path]) -> Iterator[Path]:
    """Without hidden files, such as those that some systems put into archives (._00001.png)."""
    return (path for path in paths if not path.name.startswith("."))


def folders_named(root: Path, names: Sequence[str]) -> list[Path]:
    """The folders below ``root`` that have one of these names in any spelling, in the order of the names."""
    if not root.is_dir():
        return []
    entries = sorted(os.listdir(root), reverse=True)
    spelt = {entry.lower(): entry for entry in entries} | {entry: entry for entry in entries}
    found = (root / spelt.get(name, spelt.get(name.lower(), "")) for name in names)
    return [path for path in dict.fromkeys(found) if path != root and path.is_dir()]


def unique_name(relative: str) -> str:
    """Folders and stem joined, without a folder that the stem already begins with (the cities of Cityscapes)."""
    *folders, file = relative.split("/")
    name = file.rpartition(".")[0]
    for folder in reversed(folders):
        name = name if name.startswith(f"{folder}_") else f"{folder}_{name}"
    return name


def some(items: Sequence[str], most: int = 10) -> str:
    """The names of some things and how many more there are."""
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")
