"""Own data sets, named ``custom:PATH`` in the flags: folders with ``images/`` and ``labels/``."""

import os
import re
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.decoding import indices, read_8_bit, read_label
from datasets.disk.layouts import Layout, Pairing, Part, Sample, unique_name
from datasets.disk.splits import Division
from datasets.labels import IGNORE
from datasets.own.own_classes import FILE, Meaning, read_meaning
from datasets.own.own_splits import SPLITS, Selection, select, splits_of, stem
from datasets.spec import DatasetSpec
from utils.errors import UsageError

PREFIX = "custom:"
IMAGES, LABELS = "images", "labels"
LABEL_FILES = (".png", ".bmp", ".tif", ".tiff", ".gif", ".pgm", ".ppm")  # formats without losses
LABEL_SUFFIXES = ("", "_label", "_labels", "_mask", "_gt", "_train_id", "_labelTrainIds", "_labelIds")


def is_custom(name: str) -> bool:
    """Whether this is the name of an own data set."""
    return name.startswith(PREFIX)


def folder_of(name: str) -> Path:
    """The folder of an own data set, as an absolute path."""
    return Path(os.path.abspath(Path(name.removeprefix(PREFIX)).expanduser()))


def lasting_name(name: str, root: Path | str) -> str:
    """The name with an absolute path: from the working directory, or below the data root if it is only there."""
    path = name.removeprefix(PREFIX)
    if not path.strip():
        raise UsageError(f"{name}: names no folder; give {PREFIX}PATH with the folder of images/ and labels/")
    below_root = Path(root).expanduser() / Path(path).expanduser()
    places = list(dict.fromkeys([folder_of(name), Path(os.path.abspath(below_root))]))
    for place in places:
        if place.is_dir():
            return f"{PREFIX}{place}"
    raise UsageError(f"{name}: no folder {' or '.join(map(str, places))}; name the folder of images/ and labels/")


def is_among(name: str, others: Iterable[str]) -> bool:
    """Whether another name means the same folder as the own data set ``name``, perhaps by another path."""
    folders = {folder_of(other).resolve() for other in filter(is_custom, others)}
    return is_custom(name) and folder_of(name).resolve() in folders


def possible_titles(folder: Path) -> Iterator[str]:
    """The folder's name, then joined to more and more names of the folders around it, then with numbers."""
    parts = [re.sub(r"[^\w.-]+", "_", part) for part in folder.parts[1:]] or ["custom"]
    for first in reversed(range(len(parts))):
        yield "_".join(parts[first:])
    for number in count(2):
        yield f"{'_'.join(parts)}_{number}"


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
    def packed_as(self) -> str:
        return "custom"  # its title depends on the other data sets of a run

    @property
    def reading(self) -> bytes:
        colours = b"" if self.meaning.colours is None else self.meaning.colours.tobytes()
        return self.table.tobytes() + self.meaning.known.tobytes() + colours + bytes([len(self.classes)])

    def base(self, root: Path) -> Path:
        return self.path

    def homes(self, root: Path | str) -> list[Path]:
        return [self.path]

    @property
    def splits(self) -> tuple[str, ...]:
        return splits_of(self.path, self.images(), divided=self.divided)

    def images(self) -> list[str]:
        """All images, by their paths below ``images/``; UsageError if there are none."""
        for name in (IMAGES, LABELS):
            if not (self.path / name).is_dir():
                remedy = f"an own data set is a folder with {IMAGES}/ and {LABELS}/; docs/datasets.md has examples"
                raise UsageError(f"{self.path}: has no folder {name}: {remedy}")
        readable = {suffix for suffix, form in Image.registered_extensions().items() if form in Image.OPEN}
        images = _files(self.path / IMAGES, readable)
        if not images:
            raise UsageError(f"{self.path / IMAGES}: no image found: put images there that Pillow reads")
        first: dict[str, str] = {}
        for image in images:
            if (other := first.setdefault(stem(image), image)) != image:
                remedy = "they would have the same label; rename one, or take it away"
                raise UsageError(f"{self.path / IMAGES}: {other} and {image} differ in their suffix only: {remedy}")
        return images

    def _select(self, split: str) -> Selection:
        return select(self.name, self.path, self.images(), split, divided=self.divided)

    def find(self, root: Path | str, split: str) -> list[Part]:
        self._select(split)  # which refuses unknown splits
        return [Part(self.path, self.layouts[0])]

    def pairing(self, parts: Sequence[Part], split: str) -> Pairing:
        selection, labels = self._select(split), self._labels()
        own_suffix = self.meaning.label_suffix
        suffixes = LABEL_SUFFIXES if own_suffix is None else (own_suffix,)
        base = f"{selection.folder}/" if selection.folder else ""
        pairing, names = Pairing([], [], self._orphans(labels, base)), {}
        for image in selection.images:
            name = unique_name(image.removeprefix(base))
            if (other := names.setdefault(name, image)) != image:  # predictions are called so
                raise UsageError(f"{self.path / IMAGES}: {other} and {image} would both be called {name}: rename one")
            label = next((labels[stem(image) + suffix] for suffix in suffixes if stem(image) + suffix in labels), None)
            place = self.path / LABELS / (label or f"{stem(image)}{suffixes[0]}.png")
            (pairing.samples if label else pairing.bare).append(Sample(self.path / IMAGES / image, place, name))
        return pairing

    def _labels(self) -> dict[str, str]:
        """The labels by their paths without suffix; where several formats have one stem, the first of them."""
        labels: dict[str, str] = {}
        files = _files(self.path / LABELS, LABEL_FILES)
        for label in sorted(files, key=lambda label: LABEL_FILES.index(Path(label).suffix.lower())):
            labels.setdefault(stem(label), label)
        return labels

    def _orphans(self, labels: dict[str, str], folder: str) -> list[Path]:
        """The labels in a folder that belong to no image of any split."""
        suffixes = (*LABEL_SUFFIXES, self.meaning.label_suffix or "")
        known = {stem(image) + suffix for image in self.images() for suffix in suffixes}
        orphans = [label for label in labels.values() if stem(label) not in known and label.startswith(folder)]
        return [self.path / LABELS / label for label in orphans]

    def divide(self, samples: Sequence[Sample], parts: Sequence[Part], split: str) -> Division:
        selection = self._select(split)
        return Division(list(samples), selection.split_by, selection.notes)

    def holds_train_ids(self, path: Path) -> bool:
        return False  # whatever its name is, ``classes.yaml`` says what a label holds

    def stored(self, path: Path) -> np.ndarray:
        """The ids in a label, or the places of its colours in ``classes.yaml``: H,W uint8."""
        if self.meaning.colours is None:
            return super().stored(path)
        colours = read_label(path, read_8_bit, colours=True)
        stored = indices(colours, self.meaning.colours)
        unknown = colours[stored == IGNORE]
        if len(unknown) and not self.meaning.known[IGNORE]:
            colour = ",".join(map(str, unknown[0]))
            raise UsageError(f"{path}: holds the colour {colour}, which {self.name} does not have: {self.remedy}")
        return stored


def custom_spec(name: str, *, title: str, divided: bool = False) -> CustomSpec:
    """The own data set ``name`` under a title."""
    path = folder_of(name)
    meaning = read_meaning(path)
    layout = Layout(f"{IMAGES}/ and {LABELS}/", f"{IMAGES}/**/*", (), {split: ("",) for split in SPLITS})
    return CustomSpec(
        name=title,
        folders=(path.name,),
        layouts=(layout,),
        counts={},
        table=meaning.table,
        ids=np.flatnonzero(meaning.known[:IGNORE]).tolist(),
        remedy=f"name what they mean in {path / FILE}, or mend the label",
        classes=meaning.classes,
        path=path,
        meaning=meaning,
        divided=divided,
    )


def _files(folder: Path, suffixes: Container[str]) -> list[str]:
    """The visible files below a folder with one of these suffixes, by their paths in it, sorted; links are followed."""
    files = []
    for home, folders, names in os.walk(folder, followlinks=True, onerror=_refuse_unreadable):
        folders[:] = [name for name in folders if name[0] != "."]
        below = Path(home).relative_to(folder)
        for name in names:
            if name[0] != "." and os.path.splitext(name)[1].lower() in suffixes:
                files.append((below / name).as_posix())
    return sorted(files)


def _refuse_unreadable(error: OSError) -> None:
    """Raise what ``os.walk`` would pass over in silence."""
    raise UsageError(f"{error.filename}: cannot be read ({error.strerror}): make it readable, or take it away")
