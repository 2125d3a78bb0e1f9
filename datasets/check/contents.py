"""The faults that the content of images and labels shows.  They are read by the code that reads them in training."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from datasets.check.findings import ERROR, NOTE, Finding
from datasets.check.listing import Split
from datasets.decoding import ScaleError, check_sizes, read_image
from datasets.disk.layouts import Sample
from datasets.disk.splits import FEW
from datasets.labels import CLASSES, IGNORE, STANDARD
from datasets.own.custom import CustomSpec
from datasets.registry import DatasetSpec
from utils.errors import UsageError

COLOURED = ("RGB", "RGBA")
ACCEPTED_SHARE = 0.01  # of pixels with unknown colours; a label with more was changed


class PairFacts(NamedTuple):
    """The facts of a pair that are kept when its pixels are gone."""

    sample: Sample
    findings: list[Finding]
    image_size: tuple[int, int] | None = None  # width and height; None if the image cannot be read
    ids: tuple[int, ...] = ()  # stored in the label; none if it cannot be read
    classes: tuple[int, ...] = ()  # the train ids that they mean

    @property
    def has_error(self) -> bool:
        return any(finding.severity == ERROR for finding in self.findings)


def check_pair(dataset: DatasetSpec, sample: Sample) -> PairFacts:
    """Read an image and its label, and list their faults."""
    findings: list[Finding] = []
    image_size = stored = None
    try:
        image_size = read_image(sample.image).size
        findings += image_faults(dataset, sample.image)
    except UsageError as error:
        code = "image_depth" if isinstance(error.__cause__, ScaleError) else undecodable(error)
        findings.append(damage(sample.image) or Finding.of(code, sample.image, error=error))
    try:
        stored = dataset.stored(sample.label)
    except UsageError as error:
        code = refusal(dataset, sample.label, error)
        findings.append(damage(sample.label) or Finding.of(code, sample.label, error=error))
        return PairFacts(sample, findings, image_size)
    ids = np.flatnonzero(np.bincount(stored.ravel()))
    findings += label_faults(dataset, sample.label, stored, ids)
    if image_size:
        try:
            check_sizes(sample, image_size, stored.shape)
        except UsageError as error:
            findings.append(Finding.of("size_mismatch", sample.image, error=error))
    classes = set(dataset.table_of(sample.label)[ids].tolist()) - {IGNORE}
    return PairFacts(sample, findings, image_size, tuple(ids.tolist()), tuple(classes))


def image_faults(dataset: DatasetSpec, path: Path) -> Iterator[Finding]:
    """The faults of an image that training would read without an error."""
    with Image.open(path) as image:
        mode, orientation = image.mode, image.getexif().get(ExifTags.Base.Orientation, 1)
    if mode not in (*COLOURED, "P", "CMYK", "YCbCr"):
        yield Finding.of("grey_image", path, mode=mode)
    if orientation != 1:
        # The owners of public data sets label the pixels as they are stored.
        yield Finding.of("turned", path, severity=ERROR if isinstance(dataset, CustomSpec) else NOTE)


def label_faults(dataset: DatasetSpec, path: Path, stored: np.ndarray, ids: np.ndarray) -> Iterator[Finding]:
    """The faults of a label (stored: H,W; ids: those in it) that training would read without an error."""
    if path.suffix == ".json":
        return
    with Image.open(path) as image:
        mode, file_format = image.mode, image.format
        colours = np.array(image.getpalette() or [], np.uint8).reshape(-1, 3)
    if file_format in ("JPEG", "MPO", "WEBP"):
        yield Finding.of("lossy_label", path, format=file_format)
    if dataset.sixteen_bit and not stored.any():
        yield Finding.of("zero_channel", path)
    if dataset.palette is None:
        return
    if mode in COLOURED:
        share = (stored == IGNORE).mean()
        code = "unknown_colours" if share > ACCEPTED_SHARE else "stored_as_colours"
        yield Finding.of(code, path, dataset=dataset.name, share=share)
    elif mode == "P":
        shared = ids[ids < min(len(colours), len(dataset.palette))]
        wrong = shared[(colours[shared] != dataset.palette[shared]).any(1)]
        if len(wrong):
            yield Finding.of("other_palette", path, dataset=dataset.name, index=wrong[0], colour=colours[wrong[0]])


def refusal(dataset: DatasetSpec, path: Path, error: UsageError) -> str:
    """The code for a label that the loader refuses."""
    if path.suffix == ".json":
        return "broken_polygons"
    if isinstance(error.__cause__, ValueError):  # raised by the loader, not by Pillow
        return "label_8_bit" if dataset.sixteen_bit else "label_mode"
    if error.__cause__:
        return undecodable(error)
    if isinstance(dataset, CustomSpec) and dataset.meaning.colours is not None:
        return "unknown_colours"
    with Image.open(path) as image:
        return "colour_label" if image.mode in COLOURED and not dataset.sixteen_bit else "unknown_ids"


def undecodable(error: UsageError) -> str:
    """The code for a file that no decoder reads to its end."""
    return "unreadable" if isinstance(error.__cause__, UnidentifiedImageError | PermissionError) else "truncated"


def damage(path: Path) -> Finding | None:
    """A file that holds nothing that its name promises; None for all other files."""
    if path.is_symlink() and not path.exists():
        return Finding.of("dangling_link", path)
    if not path.is_file() or not os.access(path, os.R_OK):
        return None
    with path.open("rb") as file:
        start = file.read(64).lstrip().lower()
    if path.stat().st_size == 0:
        return Finding.of("empty_file", path)
    if start.startswith(b"version https://git-lfs"):
        return Finding.of("lfs_pointer", path)
    if start.startswith((b"<!doctype html", b"<html", b"<?xml")):
        return Finding.of("html_page", path)
    return None


def split_faults(split: Split, pairs: Sequence[PairFacts]) -> Iterator[Finding]:
    """Labels without any class or with a single id, labels of train ids, images of another size."""
    void = [pair for pair in pairs if pair.ids and not pair.classes and not pair.has_error]
    one_class = [pair for pair in pairs if len(pair.ids) == 1 and pair.classes]
    for code, plain in (("void_label", void), ("one_class", one_class)):
        severity = ERROR if len(plain) > FEW * len(pairs) else NOTE
        for pair in plain:
            name = split.dataset.classes.names[pair.classes[0]] if pair.classes else ""
            yield Finding.of(code, pair.sample.label, severity=severity, name=name)
    for pair in with_train_ids(split.dataset, pairs):
        ids = ", ".join(map(str, pair.ids[:8]))
        yield Finding.of("train_ids", pair.sample.label, ids=ids, dataset=split.dataset.name)
    for pair in pairs:
        if split.image_size and pair.image_size and pair.image_size != split.image_size:
            size, usual = ("{}x{}".format(*size) for size in (pair.image_size, split.image_size))
            yield Finding.of("other_size", pair.sample.image, size=size, usual=usual, dataset=split.dataset.name)


def with_train_ids(dataset: DatasetSpec, pairs: Sequence[PairFacts]) -> list[PairFacts]:
    """The pairs whose labels hold train ids, but are read as the data set's own ids, most of which are higher."""
    everywhere = [CLASSES.index("vegetation"), CLASSES.index("sky")]  # in almost every image
    if dataset.classes is not STANDARD or np.isin(dataset.table[: len(CLASSES)], everywhere).any():
        return []
    readable = [pair for pair in pairs if pair.ids and not pair.has_error]
    usual = [pair for pair in readable if dataset.table_of(pair.sample.label) is dataset.table]
    low = [pair for pair in usual if len(pair.ids) > 1 and max({*pair.ids} - {IGNORE}) < len(CLASSES)]
    if len(low) == len(usual) > 2:
        return low
    return [pair for pair in low if IGNORE in pair.ids]  # without 255, a label may have low ids by chance


def add_doubles(splits: Sequence[Split], *, quick: bool) -> None:
    """Add the pictures that are in two splits of a data set, by their bytes.

    Only files of equal size are compared, or of equal name if ``quick``.
    """
    groups: dict[object, list[tuple[Split, Path]]] = defaultdict(list)
    for split in splits:
        for path in (sample.image for sample in split.pairs):
            size = path.stat().st_size if not quick and path.is_file() else 0
            groups[split.dataset.name, path.name if quick else size].append((split, path))
    for group in groups.values():
        first: dict[bytes, tuple[Split, Path]] = {}
        for split, path in group if len({split.name for split, _ in group}) > 1 else ():
            content = path.read_bytes() if os.access(path, os.R_OK) else b""
            before, other = first.setdefault(hashlib.blake2b(content).digest(), (split, path))
            if content and before is not split and other != path:
                split.add([Finding.of("double", path, other=other, split=before.name)])
