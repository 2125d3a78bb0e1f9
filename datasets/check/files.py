"""The probes of one image and its label: each yields what is wrong, nothing where all is well."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image

from datasets.check.findings import ERROR, NOTE, Finding, found, told_by_loader
from datasets.check.heads import JPEG, damage, head, is_picture, png_depth
from datasets.decoding import ScaleError, check_sizes, read_image
from datasets.disk.layouts import Sample
from datasets.labels import IGNORE
from datasets.own.custom import CustomSpec
from datasets.registry import DatasetSpec
from utils.errors import UsageError

_BLURRED = 0.01  # share of pixels of unknown colours above which a label was changed
HINTS = {
    "bdd100k": "the id column of BDD100K's table is such a one, or a label of another task",
    "idd": "the tools of IDD also write level3Ids and ids, which are not read",
    "mapillary": "ids above 65 are those of v2.0, whose ids mean other classes",
}


@dataclass(frozen=True, eq=False)
class View:
    """An image and its label as the loader reads them, or its errors."""

    row: DatasetSpec
    sample: Sample
    size: tuple[int, int] | None = None  # width and height of the image
    stored: np.ndarray | None = None  # H,W
    image_error: UsageError | None = None
    label_error: UsageError | None = None


class Facts(NamedTuple):
    """What is kept of a pair: its faults, and what shows a fault only among many."""

    sample: Sample
    size: tuple[int, int] | None
    ids: tuple[int, ...] | None  # that are stored in the label
    classes: tuple[int, ...] | None  # train ids that they mean
    findings: tuple[Finding, ...]


def look(row: DatasetSpec, sample: Sample) -> Facts:
    """Read a pair as the loader does and probe it."""
    view = read(row, sample)
    findings = tuple(finding for probe in PROBES for finding in probe(view))
    if view.stored is None:
        return Facts(sample, view.size, None, None, findings)
    ids = present(view.stored)
    classes = set(row.table_of(sample.label)[ids].tolist()) - {IGNORE}
    return Facts(sample, view.size, tuple(ids.tolist()), tuple(sorted(classes)), findings)


def read(row: DatasetSpec, sample: Sample) -> View:
    size = stored = image_error = label_error = None
    try:
        size = read_image(sample.image).size
    except UsageError as error:
        image_error = error
    try:
        stored = row.stored(sample.label)
    except UsageError as error:
        label_error = error
    return View(row, sample, size, stored, image_error, label_error)


def present(stored: np.ndarray) -> np.ndarray:
    """The ids of a label, sorted."""
    return np.flatnonzero(np.bincount(stored.ravel(), minlength=256))


def unreadable(view: View) -> Iterator[Finding]:
    """An image that the loader refuses."""
    if error := view.image_error:
        image = view.sample.image
        scaleless = isinstance(error.__cause__, ScaleError)
        yield told_by_loader("image_depth", image, error) if scaleless else damage(image) or broken(image, error)


def broken(path: Path, error: UsageError) -> Finding:
    return told_by_loader("truncated" if is_picture(path) else "unreadable", path, error)


def refused(view: View) -> Iterator[Finding]:
    """A label that the loader refuses."""
    if error := view.label_error:
        label = view.sample.label
        if (finding := damage(label)) is None:
            code = "broken_polygons" if label.suffix == ".json" else _label_code(view.row, label)
            hint = f" ({HINTS[view.row.name]})" if code == "unknown_ids" and view.row.name in HINTS else ""
            finding = told_by_loader(code, label, error, hint=hint) if code else broken(label, error)
        yield finding


def _label_code(row: DatasetSpec, path: Path) -> str:
    """Why a label image is refused; '' if it cannot be read at all."""
    try:
        with Image.open(path) as image:
            mode = image.mode
            image.load()
    except Exception:  # Pillow raises many kinds
        return ""
    if row.sixteen_bit:
        return "label_8_bit" if png_depth(path) != 16 else "unknown_ids"
    if mode not in ("L", "P", "RGB", "RGBA"):
        return "label_mode"
    if isinstance(row, CustomSpec) and row.meaning.colours is not None:
        return "unknown_colours"
    return "colour_label" if mode in ("RGB", "RGBA") and row.palette is None else "unknown_ids"


def sizes(view: View) -> Iterator[Finding]:
    if view.size and view.stored is not None:
        try:
            check_sizes(view.sample, view.size, view.stored.shape)
        except UsageError as error:
            yield told_by_loader("size_mismatch", view.sample.image, error)


def lossy(view: View) -> Iterator[Finding]:
    if view.stored is not None and head(view.sample.label).startswith((JPEG, b"RIFF")):
        message = "is stored with losses, whatever its name says, so that ids blur at every border"
        yield found("lossy_label", view.sample.label, message, "put back the label as it was downloaded")


def palette(view: View) -> Iterator[Finding]:
    """Indices are read as ids, so the palette must be that of the owners where they ship one."""
    if view.stored is None or view.row.palette is None or not is_picture(view.sample.label):
        return
    with Image.open(view.sample.label) as image:
        mode, colours = image.mode, np.array(image.getpalette() or [], dtype=np.uint8).reshape(-1, 3)
    ids = present(view.stored)
    if mode in ("RGB", "RGBA"):
        yield from _colours(view)
    elif mode == "P":
        known = ids[ids < min(len(colours), len(view.row.palette))]
        wrong = known[(colours[known] != view.row.palette[known]).any(1)]
        if len(wrong):
            message = f"has another palette than {view.row.name} (index {wrong[0]} has colour {colours[wrong[0]]})"
            yield found("other_palette", view.sample.label, message, "put back the label as it was downloaded")


def _colours(view: View) -> Iterator[Finding]:
    label, share = view.sample.label, float((view.stored == IGNORE).mean())
    if share > _BLURRED:
        message = f"holds colours that {view.row.name} does not have, in {share:.0%} of its pixels"
        yield found("unknown_colours", label, message, "put back the label as it was downloaded")
    else:
        message = "is stored in colours, by which equally coloured classes cannot be told apart"
        yield found("stored_as_colours", label, message, "put back the label as it was downloaded")


def grey(view: View) -> Iterator[Finding]:
    if view.size:
        with Image.open(view.sample.image) as image:
            mode = image.mode
        if mode not in ("RGB", "RGBA", "P", "CMYK", "YCbCr"):
            yield found("grey_image", view.sample.image, f"has no colours (mode {mode})", "fetch the image again")


def turned(view: View) -> Iterator[Finding]:
    if view.size:
        with Image.open(view.sample.image) as image:
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        if orientation != 1:
            message = f"asks to be turned (EXIF orientation {orientation}), and is read as it lies"
            fix = "turn the pixels if the label is upright, and take the tag out in either case"
            severity = ERROR if isinstance(view.row, CustomSpec) else NOTE  # owners label the pixels as they are stored
            yield found("turned", view.sample.image, message, fix, severity=severity)


def zero_channel(view: View) -> Iterator[Finding]:
    if view.row.sixteen_bit and view.stored is not None and not view.stored.any():
        message = "has zeros only in its first channel, that of the classes"
        yield found("zero_channel", view.sample.label, message, "put back the file of GT/LABELS as it was downloaded")


PROBES = (unreadable, refused, sizes, lossy, palette, grey, turned, zero_channel)
