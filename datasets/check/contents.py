"""The faults that the content of images and labels shows.  They are read by the code that reads them in training."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from datasets.check.findings import ERROR, NOTE, Finding
from datasets.check.listing import Split
from datasets.decoding import check_sizes, orientation, read_image
from datasets.disk.layouts import Sample, some
from datasets.disk.splits import FEW
from datasets.labels import CLASSES, IGNORE, STANDARD, Colour
from datasets.own.custom import LABELS, CustomSpec
from datasets.registry import DatasetSpec
from utils.errors import UsageError

SEVERAL = 8  # labels, which by chance do not all have low ids
ACCEPTED_SHARE = 0.01  # of pixels with unknown colours; a label with more was changed


class PairFacts(NamedTuple):
    """The facts of a pair that are kept when its pixels are gone."""

    sample: Sample
    findings: list[Finding]
    image_size: tuple[int, int] | None = None  # width and height; None if the image cannot be read
    ids: tuple[int, ...] = ()  # stored in the label; none if it cannot be read
    classes: tuple[int, ...] = ()  # the train ids that they mean
    palette: Mapping[int, Colour] = {}  # the colours of the ids, if they are indices of a palette

    @property
    def is_sound(self) -> bool:
        """Whether the label can be read and nothing is wrong with the pair."""
        return bool(self.ids) and all(finding.severity != ERROR for finding in self.findings)


def check_pair(dataset: DatasetSpec, sample: Sample) -> PairFacts:
    """Read an image and its label, and list their faults."""
    findings: list[Finding] = []
    image_size = None
    try:
        image_size = read_image(sample.image, upright=dataset.upright).size
        findings += image_faults(dataset, sample.image)
    except UsageError as error:
        findings.append(refused("bad_image", sample.image, error))
    try:
        stored = dataset.stored(sample.label)
    except UsageError as error:
        findings.append(refused("bad_label", sample.label, error))
        return PairFacts(sample, findings, image_size)
    ids = np.flatnonzero(np.bincount(stored.ravel()))
    form, by_colour, palette = storage(sample.label, stored, ids)
    if form in ("JPEG", "MPO", "WEBP"):
        findings.append(Finding.of("lossy_label", sample.label, format=form))
    if by_colour and dataset.palette is not None:
        share = (stored == IGNORE).mean()
        severity = ERROR if share > ACCEPTED_SHARE else NOTE
        findings.append(Finding.of("stored_as_colours", sample.label, severity=severity, share=share))
    try:
        check_sizes(sample, image_size or stored.shape[::-1], stored.shape)
    except UsageError as error:
        findings.append(Finding.from_loader("size_mismatch", error))
    classes = set(dataset.table_of(sample.label)[ids].tolist()) - {IGNORE}
    return PairFacts(sample, findings, image_size, tuple(ids.tolist()), tuple(classes), palette)


def refused(code: str, path: Path, error: UsageError) -> Finding:
    """The loader's error, and how a text begins that stands in place of a picture: nothing, a web page, a pointer."""
    finding = Finding.from_loader(code, error)
    if not (path.is_file() and os.access(path, os.R_OK)):
        return finding
    with path.open("rb") as file:
        start = file.read(64).partition(b"\n")[0].decode("latin-1").strip()
    beginning = f"; its {path.stat().st_size:,} bytes begin with '{start}'"
    return finding._replace(message=finding.message + beginning) if start.isprintable() else finding


def image_faults(dataset: DatasetSpec, path: Path) -> Iterator[Finding]:
    """The faults of an image that training would read without an error."""
    with Image.open(path) as image:
        mode, turn = image.mode, orientation(image)
        by_size = dataset.upright and turn > 4 and image.width != image.height  # shows what the label fits
    if mode not in ("RGB", "RGBA", "P", "CMYK", "YCbCr"):
        yield Finding.of("grey_image", path, mode=mode)
    if turn != 1 and not by_size:
        # The owners of public data sets label the pixels as they are stored.
        yield Finding.of("turned", path, severity=ERROR if dataset.upright else NOTE)


def storage(path: Path, stored: np.ndarray, ids: np.ndarray) -> tuple[str, bool, dict[int, Colour]]:
    """Format of a label (stored: H,W), whether its colours are read, and else the colours of its ids in a palette."""
    if path.suffix == ".json":
        return "JSON", False, {}
    with Image.open(path) as image:
        by_index = image.mode == "P" and (np.asarray(image) == stored).all()
        colours = np.reshape(image.getpalette(), (-1, 3)).tolist() if by_index else []
        used = {index: tuple(colours[index]) for index in ids[ids < min(len(colours), IGNORE)].tolist()}
        return image.format, image.mode in ("P", "RGB", "RGBA") and not by_index, used


def split_faults(split: Split, pairs: Sequence[PairFacts]) -> Iterator[Finding]:
    """Labels of a single class or none, labels of train ids, images of another size."""
    plain = [pair for pair in pairs if pair.is_sound and (len(pair.ids) == 1 or not pair.classes)]
    for pair in plain:
        name = split.dataset.classes.names[pair.classes[0]] if pair.classes else "ignored"
        severity = ERROR if len(plain) > FEW * len(pairs) else NOTE
        yield Finding.of("plain_label", pair.sample.label, severity=severity, name=name)
    yield from palette_faults(split.dataset, pairs)
    if isinstance(split.dataset, CustomSpec):
        yield from unused_classes(split.dataset, pairs)
    for pair in with_train_ids(split.dataset, pairs):
        ids = ", ".join(map(str, pair.ids[:8]))
        yield Finding.of("train_ids", pair.sample.label, ids=ids, dataset=split.dataset.name)
    for pair in pairs:
        if split.image_size and pair.image_size and pair.image_size != split.image_size:
            size, usual = ("{}x{}".format(*size) for size in (pair.image_size, split.image_size))
            yield Finding.of("other_size", pair.sample.image, size=size, usual=usual, dataset=split.dataset.name)


def palette_faults(dataset: DatasetSpec, pairs: Sequence[PairFacts]) -> Iterator[Finding]:
    """The labels whose palette gives an id another colour than a label before does, or than the data set has."""
    usual = {} if dataset.palette is None else dict(enumerate(map(tuple, dataset.palette.tolist())))
    for pair in pairs:
        other = [index for index, colour in pair.palette.items() if usual.setdefault(index, colour) != colour]
        if other:
            facts = {"colour": pair.palette[other[0]], "usual": usual[other[0]]}
            yield Finding.of("other_palette", pair.sample.label, index=other[0], **facts)


def unused_classes(dataset: CustomSpec, pairs: Sequence[PairFacts]) -> Iterator[Finding]:
    """The classes of an own data set that no label holds; of the 19, only if labels hold one class, and 255."""
    held = set().union(*(pair.classes for pair in pairs))
    unused = sorted({*dataset.table.tolist()} - held - {IGNORE})
    ignored = any(IGNORE in pair.ids for pair in pairs)
    if not held or not unused or (dataset.classes is STANDARD and (len(held) > 1 or not ignored)):
        return
    names = [dataset.classes.names[index] for index in unused]
    remedy = f"; 255 is ignored: if it means {names[0]}, list all `ids`, with `255: {names[0]}`" if ignored else ""
    yield Finding.of("unused_class", dataset.path / LABELS, names=some(names, 3), remedy=remedy)


def with_train_ids(dataset: DatasetSpec, pairs: Sequence[PairFacts]) -> list[PairFacts]:
    """The pairs whose labels hold train ids, but are read as the data set's own ids, most of which are higher."""
    everywhere = [CLASSES.index("vegetation"), CLASSES.index("sky")]  # in almost every image
    alike = max(dataset.ids) < len(CLASSES) or np.isin(dataset.table[: len(CLASSES)], everywhere).any()
    if dataset.classes is not STANDARD or alike:  # its own ids are as low as train ids
        return []
    usual = [pair for pair in pairs if pair.is_sound and dataset.table_of(pair.sample.label) is dataset.table]
    low = [pair for pair in usual if max({*pair.ids} - {IGNORE}, default=IGNORE) < len(CLASSES)]
    if len(low) == len(usual) >= SEVERAL:
        return low
    return [pair for pair in low if IGNORE in pair.ids]  # without 255, a label may have low ids by chance


def add_doubles(splits: Sequence[Split], *, quick: bool) -> None:
    """Add the pictures that are in two splits of a data set, by their bytes.

    Only files of equal size are compared, or of equal name if ``quick``.
    """
    groups: dict[object, list[tuple[Split, Path]]] = defaultdict(list)
    for split in splits:
        for path in (sample.image for sample in split.pairs):
            if path.is_file() and os.access(path, os.R_OK):
                groups[split.dataset.name, path.name if quick else path.stat().st_size].append((split, path))
    for group in groups.values():
        first: dict[bytes, tuple[Split, Path]] = {}
        for split, path in group if len({split.name for split, _ in group}) > 1 else ():
            content = path.read_bytes()
            before, other = first.setdefault(hashlib.blake2b(content).digest(), (split, path))
            if content and before is not split and other != path:
                split.add([Finding.of("double", path, other=other, split=before.name)])
