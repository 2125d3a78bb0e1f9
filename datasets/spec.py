"""A labelled data set on disk: the search for its images and labels, and the reading of the labels."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np

from datasets import labels
from datasets.disk.label_files import indices, picture_size, read_8_bit, read_16_bit
from datasets.disk.layouts import Layout, Pairing, Pairs, Part, Sample, folders_named, pair, some
from datasets.disk.splits import FEW, Division, by_list, by_matlab, by_rule, find_matlab
from datasets.labels import ClassSet
from utils.errors import UsageError, first_line


@dataclass(frozen=True, eq=False)
class DatasetSpec:
    """A labelled data set on disk, told in facts only."""

    name: str
    folders: tuple[str, ...]  # names that it may have below the data root, ours first; one may lie in another
    layouts: tuple[Layout, ...]  # that of the authors' README first
    counts: dict[str, int]  # images expected in each split
    table: np.ndarray  # uint8[256]: stored id -> train id
    ids: int  # how many ids there are: 0, 1, ..., and 255 for what is not labelled
    palette: np.ndarray | None = None  # colours of the indices, where labels are also found stored as colours
    sixteen_bit: bool = False
    size: tuple[int, int] | None = None  # width and height of all images, where they are alike
    scored_square: bool = False  # evaluated on a square crop, whose side a flag gives
    merged: bool = False  # comes in several parts, which are used together
    sizes_differ: bool = False  # some images and labels are known to differ in size
    numbers: tuple[range, int] | None = None  # of the images, and their digits, where archives are not divided
    left_out: dict[str, frozenset[str]] = field(default_factory=dict)  # why -> stems of images that are not used
    lists: Mapping[str, Path] = field(default_factory=dict)  # split -> the user's list of file names
    classes: ClassSet = labels.STANDARD  # that the table leads to

    @property
    def asked_as(self) -> str:
        """What the flag ``--dataset`` calls it."""
        return self.name

    @property
    def kind(self) -> str:
        """What files that are made of it are called after."""
        return self.name

    @property
    def reading(self) -> bytes:
        """What decides which class a stored label means."""
        return self.table.tobytes()

    def base(self, root: Path) -> Path:
        """The folder below which everything lies that is read of it, and made of it."""
        return root

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits with labels, under our names."""
        return tuple(dict.fromkeys(split for layout in self.layouts for split in layout.splits))

    def pairs(self, root: Path | str, split: str) -> Pairs:
        """The images of a split with their labels, sorted by path."""
        parts = self.find(root, split)
        found = self._pair(parts, split)
        division = self.divide(found.samples, parts, split)
        samples, notes = self.usable(division.samples, split)
        if not samples:
            raise UsageError(
                f"{self.name} {split}: {division.told} leaves no image of {len(found.samples):,} in {parts[0].home}: "
                "complete the images or divide them in another way"
            )
        return Pairs(
            samples,
            layout=" and ".join(dict.fromkeys(part.layout.name for part in parts)),
            home=" and ".join(dict.fromkeys(str(part.home) for part in parts)),
            split_by=division.told,
            expected=self._expected(parts, split),
            notes=(*_partners(self.name, split, found), *division.notes, *notes),
        )

    def _expected(self, parts: list[Part], split: str) -> int | None:
        """How many images there should be, if that is known; what is there in two layouts counts once."""
        counts = {id(found): found for found in (part.layout.counts or self.counts for part in parts)}
        return sum(found.get(split, 0) for found in counts.values()) or None

    def find(self, root: Path | str, split: str) -> list[Part]:
        """The folders that hold a split; UsageError with every place that was looked at if there is none."""
        if split not in self.splits:
            raise UsageError(f"{self.name} has no labelled split '{split}': choose one of {', '.join(self.splits)}")
        root = Path(root).expanduser()
        homes = folders_named(root, self.folders)
        homes = list(dict.fromkeys(inner for home in homes for inner in (home, *folders_named(home, self.folders))))
        layouts = [layout for layout in self.layouts if split in layout.splits]
        parts = [part for layout in layouts for home in homes if (part := Part(home, layout)).is_there()]
        if not self.merged:
            parts = ([part for part in parts if part.is_labelled()] or parts)[:1]
        parts = [part for part in parts if self.lists or part.layout.flat or part.first(split)]
        if not parts:
            patterns = " or ".join(dict.fromkeys(layout.pattern(split) for layout in layouts))
            raise UsageError(self._nothing(root, homes, patterns))
        if refused := parts[0].layout.refused:
            raise UsageError(f"{parts[0].home}: {refused}")
        return parts

    def _nothing(self, root: Path, homes: list[Path], patterns: str) -> str:
        missing = f"{root}: no folder {' or '.join(self.folders)}"
        found = f"{', '.join(map(str, homes))}: no image found"
        return (
            f"{found if homes else missing}; the images of {self.name} are expected there as {patterns}: put the data "
            f"there, name another --data_root, or draw a stand-in with `python -m datasets.demo {root}`"
        )

    def pairing(self, parts: list[Part], split: str) -> Pairing:
        """Images with their labels: of all splits, if lists of the user divide them, else of this one."""
        whole = self.lists and not parts[0].layout.flat
        wanted = [(part, other) for part in parts for other in (part.layout.splits if whole else [split])]
        return pair([(part, *part.images(other)) for part, other in wanted])

    def _pair(self, parts: list[Part], split: str) -> Pairing:
        """The same; UsageError if many images lack their labels."""
        found = self.pairing(parts, split)
        total = len(found.samples) + len(found.bare)
        if len(found.bare) > FEW * total:
            first = found.bare[0]
            raise UsageError(
                f"{first.image}: has no label {first.label} ({len(found.bare):,} of {total:,} images of {self.name} "
                f"{split} have none): complete the labels or take these images away"
            )
        return found

    def divide(self, samples: list[Sample], parts: list[Part], split: str) -> Division:
        """Those that belong to a split, if images of several splits lie together; UsageError if that cannot be told."""
        if self.lists:
            return by_list(self.name, samples, split, self.lists)
        if not parts[0].layout.flat:
            return Division(samples, "folders")
        if self.name == "gtav" and (path := find_matlab([part.home for part in parts])):
            return by_matlab(self.name, samples, split, path)
        return by_rule(self.name, samples, split, self.counts, self.numbered())

    def numbered(self) -> list[str]:
        """The stems of all images of a data set whose images are numbered, without those that are not used."""
        numbers, digits = self.numbers or (range(0), 0)
        unused = frozenset().union(*self.left_out.values())
        return [stem for number in numbers if (stem := f"{number:0{digits}d}") not in unused]

    def usable(self, samples: list[Sample], split: str) -> tuple[list[Sample], list[str]]:
        """Those that can be used, and notes on the others; UsageError if many differ in size from their labels."""
        notes = []
        for why, stems in self.left_out.items():
            out = [sample for sample in samples if sample.image.stem in stems]
            samples = [sample for sample in samples if sample.image.stem not in stems]
            notes += _without(self.name, split, out, why)
        if self.sizes_differ:
            samples, out = _of_one_size(samples)
            if len(out) > FEW * (len(samples) + len(out)):
                raise UsageError(
                    f"{out[0].image}: differs in size from its label {out[0].label} (as {len(out):,} of "
                    f"{len(samples) + len(out):,} images of {self.name} {split} do): fetch images and labels again"
                )
            notes += _without(self.name, split, out, "image and label differ in size")
        return samples, notes

    def decode(self, path: Path | str) -> np.ndarray:
        """The train ids of a label file: H,W uint8, 255 = ignore."""
        path = Path(path)
        return labels.look_up(self.stored(path), self.table_of(path))

    def table_of(self, path: Path) -> np.ndarray:
        """The lookup table for what a label file stores: uint8[256]."""
        return labels.IDENTITY if path.suffix == ".json" or _is_ready(path) else self.table

    def stored(self, path: Path) -> np.ndarray:
        """What a label file stores, which are ids of this data set: H,W uint8, 255 = not labelled."""
        if path.suffix == ".json":
            from datasets.disk.polygons import rasterise

            return rasterise(path)
        ready = _is_ready(path)
        stored = self._stored(path, read_16_bit if self.sixteen_bit and not ready else read_8_bit)
        ids = len(labels.CLASSES) if ready else self.ids
        unknown = labels.unknown(stored, ids)
        if len(unknown):
            found = ", ".join(map(str, unknown[:5]))
            raise UsageError(
                f"{path}: holds the ids {found}, but {self.name} has 0 to {ids - 1} and {labels.IGNORE}: give the "
                "labels of this data set in the version that the README names"
            )
        return stored

    def _stored(self, path: Path, read: Callable[[Path], np.ndarray]) -> np.ndarray:
        """The ids of a file: H,W."""
        stored = read_label(path, read)
        if stored.ndim == 2:
            return stored
        if self.palette is None:
            raise UsageError(
                f"{path}: is a colour image where {self.name} labels are class indices: give the label files, not "
                f"the coloured ones"
            )
        return indices(stored, self.palette)


def read_label(path: Path, read: Callable[[Path], np.ndarray]) -> np.ndarray:
    """What ``read`` makes of a label; UsageError if that fails."""
    try:
        return read(path)
    except Exception as error:  # Pillow raises many kinds for a broken or enormous file
        raise UsageError(f"{path}: unreadable label ({first_line(error)}): fetch or convert the file again") from error


def _is_ready(path: Path) -> bool:
    """Whether a label file holds train ids, as the owners' tools call such files."""
    return path.stem.endswith("TrainIds")


def _of_one_size(samples: list[Sample]) -> tuple[list[Sample], list[Sample]]:
    """Those whose image and label are equal in size, and the others; only the heads of the files are read."""
    with ThreadPoolExecutor(8) as threads:
        parts = [samples[start : start + 500] for start in range(0, len(samples), 500)]
        equal = list(chain.from_iterable(threads.map(_equal_in_size, parts)))
    alike = [sample for sample, same in zip(samples, equal, strict=True) if same]
    return alike, [sample for sample, same in zip(samples, equal, strict=True) if not same]


def _equal_in_size(samples: list[Sample]) -> list[bool]:
    """Of each sample, whether its image and label are; what cannot be read is told when it is opened."""
    sizes = [(picture_size(sample.image), picture_size(sample.label)) for sample in samples]
    return [image == label or None in (image, label) for image, label in sizes]


def _without(name: str, split: str, out: list[Sample], why: str) -> list[str]:
    names = some([sample.image.name for sample in out])
    return [f"{name} {split}: {len(out):,} left out, {why}: {names}"] if out else []


def _partners(name: str, split: str, found: Pairing) -> list[str]:
    """Notes on images and labels without partner."""
    images, labels_ = [sample.image.name for sample in found.bare], [path.name for path in found.orphans]
    told = {"images have no label and are left out": images, "labels have no image": labels_}
    return [f"{name} {split}: {what} ({len(names):,}): {some(names)}" for what, names in told.items() if names]
