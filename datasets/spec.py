"""A labelled data set on disk: its facts, and the search for its images and labels."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from datasets.decoding import LabelFormat, picture_size
from datasets.disk.attributes import attributes_of
from datasets.disk.layouts import Layout, Pairing, Pairs, Part, Sample, folders_named, pair, some, visible_names
from datasets.disk.splits import FEW, Division, by_list, by_rule, by_split_mat
from utils.errors import UsageError


class NoImagesError(UsageError):
    """A data set has no images of a split; perhaps the user did not fetch them."""


@dataclass(frozen=True, eq=False, kw_only=True)
class DatasetSpec(LabelFormat):
    """The facts about a data set."""

    folders: tuple[str, ...]  # its possible names below the data root, ours first; one may lie within another
    layouts: tuple[Layout, ...]  # the README's first
    counts: dict[str, int]  # images expected in each split
    tables: Mapping[str, np.ndarray] = field(default_factory=dict)  # value of --gtav_labels -> label table
    size: tuple[int, int] | None = None  # width and height, if all images are equal in size
    scored_square: bool = False  # evaluated on a square crop; a flag sets its side
    merged: bool = False  # comes in parts that are used together
    polygons: bool = False  # comes with polygons only, from which ``datasets.prepare`` draws the labels
    sizes_differ: bool = False  # a few images are known to differ in size from their labels
    numbers: tuple[range, str] | None = None  # of the images, and the form of a stem, if the archives are not divided
    split_mat: tuple[str, ...] = ()  # where the owners' file of splits may lie below the data set's folder
    left_out: Mapping[str, frozenset[str]] = field(default_factory=dict)  # reason -> stems of images that are not used
    naming: str = ""  # one more remedy for images without labels
    lists: Mapping[str, Path] = field(default_factory=dict)  # split -> the user's list of file names
    conditions: Mapping[str, str] = field(default_factory=dict)  # name -> a folder of the images, or an attribute
    attributes: tuple[str, ...] = ()  # where files with attributes may lie; {stem}: a file for each image
    condition_counts: Mapping[str, dict[str, int]] = field(default_factory=dict)  # images expected under each
    part_of: str = ""  # the whole data set, if this is a part of it,
    needed: tuple[str, ...] = ()  # whose images are in all these folders, or have all these attributes

    @property
    def asked_as(self) -> str:
        """The name in the flag ``--dataset``."""
        return self.name

    def base(self, root: Path) -> Path:
        """The folder that holds everything of the data set, also what is made from it."""
        return root

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits with labels, under our names."""
        return tuple(dict.fromkeys(split for layout in self.layouts for split in layout.splits))

    def homes(self, root: Path | str) -> list[Path]:
        """The folders of the data set; one may lie within another."""
        outer = folders_named(Path(root).expanduser(), self.folders)
        return list(dict.fromkeys(home for folder in outer for home in (folder, *folders_named(folder, self.folders))))

    def patterns(self, split: str) -> str:
        """Where the images of a split are expected in the data set's folder, in each layout."""
        layouts = [layout for layout in self.layouts if split in layout.splits]
        places = [layout.images.format(split=name) for layout in layouts for name in layout.splits[split]]
        return " or ".join(dict.fromkeys(places))

    def pairs(self, root: Path | str, split: str) -> Pairs:
        """The images of a split with their labels, sorted by path.

        UsageError if there are none, or if more than a few lack a label or differ from it in size.
        """
        parts = self.find(root, split)
        pairing = self.pairing(parts, split)
        total = len(pairing.samples) + len(pairing.bare)
        if pairing.bare:
            remedy = self.remedy_without(pairing.bare[0])
            self._refuse_many(pairing.bare, total, split, "has no label", remedy)
        division = self.divide(pairing.samples, parts, split)
        samples, notes = self._usable(division.samples, split)
        if not samples:
            raise NoImagesError(
                f"{parts[0].home}: {division.split_by} leaves no image of {split}: give --split_file, or more images"
            )
        # A part in two layouts counts once.
        expected = {tuple((part.layout.counts or self.counts).items()) for part in parts}
        pairs = Pairs(samples)
        pairs.layout = " and ".join(dict.fromkeys(part.layout.name for part in parts))
        pairs.home = " and ".join(dict.fromkeys(str(part.home) for part in parts))
        pairs.split_by = division.split_by
        pairs.expected = sum(dict(counts).get(split, 0) for counts in expected) or None
        unlabelled = self._note(split, "images have no label and are left out", [each.image for each in pairing.bare])
        orphans = self._note(split, "labels have no image", pairing.orphans)
        pairs.notes = (*unlabelled, *orphans, *pairing.notes, *division.notes, *notes)
        return pairs

    def find(self, root: Path | str, split: str) -> list[Part]:
        """The folders that hold a split; UsageError with all places that were searched if there is none."""
        if split not in self.splits:
            raise UsageError(
                f"{self.name} has no labelled split '{split}': choose one of {', '.join(self.splits)}, or another data "
                "set"
            )
        homes = self.homes(root)
        layouts = [layout for layout in self.layouts if split in layout.splits]
        parts = [Part(home, layout) for layout in layouts for home in homes]
        parts = [part for part in parts if any(map(part.first, part.layout.splits))]
        if not self.merged:
            parts = ([part for part in parts if part.has_labels()] or parts)[:1]
        parts = [part for part in parts if self.lists or part.layout.flat or part.first(split)]
        if not parts:
            names = " or ".join(self.folders)
            problem = f"{', '.join(map(str, homes))}: no image found" if homes else f"{root}: no folder {names}"
            raise NoImagesError(
                f"{problem}; the images of {self.name} are expected there as {self.patterns(split)}: put the data "
                "there, name another --data_root, or draw stand-ins of the README's six data sets with "
                f"`python -m datasets.demo {root}`"
            )
        if reason := parts[0].layout.refused:
            raise UsageError(f"{parts[0].home}: {reason}")
        return parts

    def pairing(self, parts: Sequence[Part], split: str) -> Pairing:
        """Images with their labels: those of all splits if lists of the user divide them, else those of one split."""
        everything = self.lists and not parts[0].layout.flat
        wanted = [(part, name) for part in parts for name in (part.layout.splits if everything else [split])]
        pairing = pair([(part, *part.images(name)) for part, name in wanted])
        return self._part(pairing, parts[0].home, split) if self.needed else pairing

    def under(self, conditions: Sequence[str]) -> "DatasetSpec":
        """The images for which all these conditions hold, as a data set; UsageError for an unknown condition."""
        name = "_".join((self.name, *conditions))
        for other in (condition for condition in conditions if condition not in self.conditions):
            known = ", ".join(self.conditions)
            raise UsageError(f"{name}: {self.name} has no condition '{other}': choose from {known}")
        needed = tuple(self.conditions[condition] for condition in conditions)
        counts = self.condition_counts.get(conditions[0], {}) if len(conditions) == 1 else {}
        return replace(self, name=name, part_of=self.name, counts=counts, needed=needed)

    def _part(self, pairing: Pairing, home: Path, split: str) -> Pairing:
        """The images with the needed folders or attributes; UsageError if there are none, or no file of attributes."""
        images = [sample.image for sample in (*pairing.samples, *pairing.bare)]
        held = {image: set(image.relative_to(home).parts[:-1]) for image in images}
        if self.attributes:
            known = attributes_of(home, self.attributes, {image.stem for image in images})
            held = {image: known.get(image.stem, set()) for image in images}
            if not known:
                problem = f"the attributes of its images, but none are in {' or '.join(self.attributes)}"
                remedy = f"fetch one (docs/datasets.md), or use all of {self.part_of}"
                raise UsageError(f"{home}: {self.name} needs {problem}: {remedy}")
        chosen = {image for image in images if held[image].issuperset(self.needed)}
        if not chosen:
            problem = f"none of the {len(images):,} images of {self.part_of} {split} is {' and '.join(self.needed)}"
            raise NoImagesError(f"{home}: {problem}: choose another condition, or complete the data")
        samples, bare = ([one for one in these if one.image in chosen] for these in pairing[:2])
        fault, unknown = "images have no attributes and are left out", [image for image in images if not held[image]]
        return Pairing(samples, bare, pairing.orphans, tuple(self._note(split, fault, unknown)))

    def remedy_without(self, bare: Sample) -> str:
        """What to do about an image without a label; names what lies in place of the label, or of its folder."""
        if other := next(bare.label.parent.glob(f"{bare.label.stem}.*"), None):
            return f"{other} is no mask: export PNG masks, never from a JPEG, or take these images away"
        missing = bare.label
        while not missing.parent.is_dir():
            missing = missing.parent
        remedy = f"complete the labels or take these images away{self.naming}"
        return f"{missing.parent} lacks {missing.name}, it has {visible_names(missing.parent)}: {remedy}"

    def _refuse_many(self, samples: Sequence[Sample], total: int, split: str, fault: str, remedy: str) -> None:
        """UsageError if more than a few of the ``total`` images of a split have a fault."""
        if len(samples) > FEW * total:
            share = f"{len(samples):,} of {total:,} images of {self.name} {split}"
            raise UsageError(f"{samples[0].image}: {fault} {samples[0].label} ({share}): {remedy}")

    def divide(self, samples: Sequence[Sample], parts: Sequence[Part], split: str) -> Division:
        """The images of a split, where images of several splits lie together."""
        if self.lists:
            return by_list(self.name, samples, split, self.lists)
        if not parts[0].layout.flat:
            return Division(list(samples), "folders")
        places = [part.home / place for part in parts for place in self.split_mat]
        if path := next((place for place in places if place.exists()), None):
            return by_split_mat(self.name, samples, split, path, stem=self.numbers[1])
        missing = "--split_file and no split.mat" if self.split_mat else "--split_file"
        return by_rule(self.name, samples, split, self.counts, self.numbered(), missing=missing)

    def numbered(self) -> list[str]:
        """The stems of all usable images of a data set whose images are numbered."""
        numbers, form = self.numbers or ((), "")
        unused = frozenset().union(*self.left_out.values())
        return [stem for number in numbers if (stem := form.format(number)) not in unused]

    def _usable(self, samples: list[Sample], split: str) -> tuple[list[Sample], list[str]]:
        """The samples that can be used, and notes on the others."""
        notes = []
        for reason, stems in self.left_out.items():
            notes += self._note(split, reason, [sample.image for sample in samples if sample.image.stem in stems])
            samples = [sample for sample in samples if sample.image.stem not in stems]
        if self.sizes_differ:
            with ThreadPoolExecutor(8) as threads:  # they mostly wait for the disk
                equal = list(threads.map(_equal_in_size, samples))
            out = [sample for sample, same in zip(samples, equal, strict=True) if not same]
            fault = "differs in size from its label"
            self._refuse_many(out, len(samples), split, fault, "fetch images and labels again")
            samples = [sample for sample, same in zip(samples, equal, strict=True) if same]
            notes += self._note(split, "left out, image and label differ in size", [sample.image for sample in out])
        return samples, notes

    def _note(self, split: str, fault: str, files: Sequence[Path]) -> list[str]:
        names = some([file.name for file in files])
        return [f"{self.name} {split}: {fault} ({len(files):,}): {names}"] if files else []


def _equal_in_size(sample: Sample) -> bool:
    """Whether image and label are equal in size; an unreadable file passes here and is refused when it is read."""
    image, label = picture_size(sample.image), picture_size(sample.label)
    return image == label or None in (image, label)
