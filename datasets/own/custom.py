"""Data sets of one's own, which the flags call ``custom:PATH``: a folder with ``images/`` and ``labels/``."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.disk.label_files import indices, read_8_bit, read_colours
from datasets.disk.layouts import Layout, Pairing, Part, Sample, unique_name
from datasets.disk.splits import Division
from datasets.labels import IGNORE
from datasets.own import own_splits
from datasets.own.own_classes import FILE, Meaning, read_meaning
from datasets.own.own_splits import Chosen, stem
from datasets.rows import ROWS
from datasets.spec import DatasetSpec, read_label
from utils.errors import UsageError

PREFIX = "custom:"
IMAGES, LABELS = "images", "labels"
LABEL_FILES = (".png", ".bmp", ".tif", ".tiff", ".gif", ".pgm", ".ppm")  # formats without losses
LABEL_SUFFIXES = ("", "_label", "_labels", "_mask", "_gt", "_train_id", "_labelTrainIds", "_labelIds")


def is_custom(name: str) -> bool:
    """Whether the name of a data set is the path of an own one."""
    return name.startswith(PREFIX)


def folder_of(name: str) -> Path:
    return Path(name.removeprefix(PREFIX))


def lasting_name(name: str, root: Path | str) -> str:
    """The name with an absolute path: from the working directory, or below the data root if it is only there."""
    given = folder_of(name).expanduser()
    places = [Path(os.path.abspath(folder / given)) for folder in ("", Path(root).expanduser())]
    if not name.removeprefix(PREFIX).strip():
        raise UsageError(f"{name}: names no folder; give {PREFIX}PATH with the folder of images/ and labels/")
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        where = " or ".join(dict.fromkeys(map(str, places)))
        raise UsageError(f"{name}: no folder {where}; name the folder of images/ and labels/")
    return f"{PREFIX}{found}"


def is_among(name: str, others: Iterable[str]) -> bool:
    """Whether the folder of an own data set is that of another one too, by whatever path."""
    folders = {folder_of(other).resolve() for other in filter(is_custom, others)}
    return is_custom(name) and folder_of(name).resolve() in folders


def titles(names: Iterable[str]) -> dict[str, str]:
    """What own data sets are called in results and file names: their folder's name, with those of the folders around
    it as far as another data set, of those before it or of the known ones, is called so."""
    taken, found = {row.name for row in ROWS}, {}
    for name in dict.fromkeys(filter(is_custom, names)):
        title = next(title for title in _titles(folder_of(name)) if title.lower() not in taken)
        taken.add(title.lower())
        found[name] = title
    return found


def _titles(folder: Path) -> Iterator[str]:
    parts = [re.sub(r"[^\w.-]+", "_", part) for part in folder.parts[1:]] or ["custom"]
    whole = "_".join(parts)
    return chain(("_".join(parts[-k:]) for k in range(1, len(parts) + 1)), (f"{whole}_{k}" for k in count(2)))


@dataclass(frozen=True, eq=False)
class CustomSpec(DatasetSpec):
    """A data set of one's own."""

    path: Path = field(kw_only=True)
    meaning: Meaning = field(kw_only=True)
    divided: bool = field(kw_only=True)  # whether our rule divides it, where it is not, or all of it is for validation

    @property
    def asked_as(self) -> str:
        return f"{PREFIX}{self.path}"

    @property
    def kind(self) -> str:
        return "custom"

    @property
    def reading(self) -> bytes:
        colours = b"" if self.meaning.colours is None else self.meaning.colours.tobytes()
        return self.table.tobytes() + self.meaning.known.tobytes() + colours + bytes([len(self.classes)])

    def base(self, root: Path) -> Path:
        return self.path

    @property
    def splits(self) -> tuple[str, ...]:
        return self.splits_of(self.images())

    def splits_of(self, images: Sequence[str]) -> tuple[str, ...]:
        there = own_splits.lists_in(self.path) or own_splits.folders_in(images)
        return tuple(there) or (("train", "val") if self.divided else ("val",))

    def images(self) -> list[str]:
        """All images, by their paths below ``images/``; UsageError if there are none."""
        for name in (IMAGES, LABELS):
            if not (self.path / name).is_dir():
                remedy = f"an own data set is a folder with {IMAGES}/ and {LABELS}/; docs/datasets.md tells more"
                raise UsageError(f"{self.path}: has no folder {name}: {remedy}")
        if not (found := _files(self.path / IMAGES, _readable())):
            raise UsageError(f"{self.path / IMAGES}: no image found: put images there that Pillow reads")
        stems = Counter(map(stem, found))
        if twice := next((image for image in found if stems[stem(image)] > 1), None):
            alike = [image for image in found if stem(image) == stem(twice)]
            remedy = "they would have the same label; rename one, or take it away"
            raise UsageError(f"{self.path / IMAGES}: {' and '.join(alike)} differ in their suffix only: {remedy}")
        return found

    def choose(self, split: str) -> Chosen:
        """The images of a split; UsageError if there is no such split."""
        images, lists = self.images(), own_splits.lists_in(self.path)
        folders = own_splits.folders_in(images)
        if split not in (splits := self.splits_of(images)):
            there = ", ".join(splits)
            remedy = f"add {split}.txt, one image per line" if lists else f"choose {there}"
            remedy = f"add {IMAGES}/{split} and {LABELS}/{split}" if folders and not lists else remedy
            raise UsageError(f"{self.path}: has no split {split}, only {there}: {remedy}")
        if lists:
            return own_splits.by_lists(self.name, images, split, lists)
        if folders:
            return own_splits.by_folder(self.name, images, split, folders)
        return own_splits.by_rule(self.name, images, split) if self.divided else own_splits.whole(images)

    def find(self, root: Path | str, split: str) -> list[Part]:
        self.choose(split)
        return [Part(self.path, self.layouts[0])]

    def pairing(self, parts: list[Part], split: str) -> Pairing:
        chosen, labels = self.choose(split), _files(self.path / LABELS, LABEL_FILES)
        by_stem: dict[str, str] = {}
        for label in sorted(labels, key=lambda label: LABEL_FILES.index(Path(label).suffix.lower())):
            by_stem.setdefault(stem(label), label)
        paired = [(image, self.label_of(image, by_stem)) for image in chosen.images]
        base = f"{chosen.folder}/" if chosen.folder else ""
        usual = self.meaning.label_suffix or ""
        names = {image: unique_name(image.removeprefix(base)) for image in chosen.images}
        _refuse_alike(self.path / IMAGES, names)
        samples = [self.sample(image, label or f"{stem(image)}{usual}.png", names[image]) for image, label in paired]
        has = [label is not None for _, label in paired]
        orphans = self.orphans(by_stem, within=base)
        whole, bare = ([x for x, there in zip(samples, has, strict=True) if there is kind] for kind in (True, False))
        return Pairing(whole, bare, orphans)

    def sample(self, image: str, label: str, name: str) -> Sample:
        return Sample(self.path / IMAGES / image, self.path / LABELS / label, name)

    def label_of(self, image: str, by_stem: dict[str, str]) -> str | None:
        """The label of an image, by the first of the suffixes that its name may have."""
        given = self.meaning.label_suffix
        suffixes = LABEL_SUFFIXES if given is None else (given,)
        return next((found for suffix in suffixes if (found := by_stem.get(stem(image) + suffix))), None)

    def orphans(self, by_stem: dict[str, str], *, within: str) -> list[Path]:
        """The labels in a folder that belong to no image, whatever its split."""
        suffixes = (*LABEL_SUFFIXES, self.meaning.label_suffix or "")
        known = {stem(image) + suffix for image in self.images() for suffix in suffixes}
        labels = (label for name, label in by_stem.items() if name not in known)
        return [self.path / LABELS / label for label in labels if label.startswith(within)]

    def divide(self, samples: list[Sample], parts: list[Part], split: str) -> Division:
        chosen = self.choose(split)
        return Division(samples, chosen.told, chosen.notes)

    def table_of(self, path: Path) -> np.ndarray:
        return self.table

    def stored(self, path: Path) -> np.ndarray:
        """The ids in a label, or the places of its colours in the list of ``classes.yaml``: H,W uint8."""
        if self.meaning.colours is None:
            stored = self._stored(path, read_8_bit)
        else:
            colours = read_label(path, read_colours)
            stored = indices(colours, self.meaning.colours)
        unknown = np.flatnonzero(np.bincount(stored.ravel(), minlength=256).astype(bool) & ~self.meaning.known)
        if not len(unknown):
            return stored
        if self.meaning.colours is None:
            told = f"the ids {', '.join(map(str, unknown[:5]))}, but {self.name} has {self.known_ids()}"
        else:
            first = colours[stored == IGNORE][0]
            told = f"the colour {','.join(map(str, first[:3]))}, which {self.name} does not have"
        raise UsageError(f"{path}: holds {told}: name what they mean in {self.path / FILE}, or mend the label")

    def known_ids(self) -> str:
        known = np.flatnonzero(self.meaning.known[:IGNORE]).tolist()
        dense = known == list(range(len(known)))
        return f"0 to {len(known) - 1} and {IGNORE}" if dense else f"{', '.join(map(str, known))} and {IGNORE}"


def custom_spec(name: str, *, title: str | None = None, divided: bool = False) -> CustomSpec:
    """The data set of one's own that the flags call ``name``."""
    path = Path(os.path.abspath(folder_of(name).expanduser()))
    asked = f"{PREFIX}{path}"
    if not path.is_dir():
        raise UsageError(f"{asked}: no such folder; name the folder of {IMAGES}/ and {LABELS}/")
    meaning = read_meaning(path)
    layout = Layout(f"{IMAGES}/ and {LABELS}/", f"{IMAGES}/**/*", (), {split: ("",) for split in own_splits.SPLITS})
    return CustomSpec(
        name=title or titles([asked])[asked],
        folders=(path.name,),
        layouts=(layout,),
        counts={},
        table=meaning.table,
        ids=IGNORE,
        classes=meaning.classes,
        path=path,
        meaning=meaning,
        divided=divided,
    )


def _files(folder: Path, suffixes: Sequence[str] | frozenset[str]) -> list[str]:
    """The files below a folder with one of these suffixes, sorted, by their paths in it; links are followed."""
    found = []
    for home, folders, names in os.walk(folder, followlinks=True, onerror=own_splits.unreadable_folder):
        folders[:] = [name for name in folders if name[0] != "."]
        below = Path(home).relative_to(folder).as_posix()
        named = (name for name in names if name[0] != "." and os.path.splitext(name)[1].lower() in suffixes)
        found += (name if below == "." else f"{below}/{name}" for name in named)
    return sorted(found)


def _readable() -> frozenset[str]:
    """The suffixes of all formats that Pillow reads."""
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN)


def _refuse_alike(folder: Path, names: dict[str, str]) -> None:
    """Predictions are called after images, so folder and stem together must be unique."""
    before: dict[str, str] = {}
    for image, name in names.items():
        if (other := before.setdefault(name, image)) != image:
            raise UsageError(f"{folder}: {other} and {image} would both be called {name}: rename one of them")
