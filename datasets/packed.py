"""Copies of image and train ids that load faster than the originals and equal them bit for bit.

A copy is one TIFF of two pages below ``<data root>/packed``: train ids, then the image, compressed by Zstandard or
not at all.  Each copy tells of which files it was made, and an index tells it of all copies of a data set; what was
made of other files than there are now is refused.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.registry import DatasetSpec, Sample
from utils.errors import UsageError, first_line

FOLDER = "packed"
INDEX = "index.json"
FORMS = ("zstd", "raw")
VERSION = 1  # of the copies; to be raised when older ones can no longer be used

# Tags of a TIFF: what is told, rows that are compressed together, differences to the left neighbour.
_DESCRIPTION, _ROWS_PER_STRIP, _PREDICTOR = 270, 278, 317
_TAGS = {"zstd": {_ROWS_PER_STRIP: 64, _PREDICTOR: 2}, "raw": {}}

Facts = list[str | int]  # of an original: path below the data root, bytes, time of its last change in nanoseconds


def home(root: Path, spec: DatasetSpec) -> Path:
    """Where the copies of a data set lie; each way to read its labels has a folder of its own."""
    return root / FOLDER / f"{spec.kind}-{hashlib.sha256(spec.reading).hexdigest()[:8]}"


def location(root: Path, source: Path, spec: DatasetSpec, sample: Sample) -> Path:
    """Where the copy of a pair below ``source`` lies in the data root ``root``."""
    relative = sample.image.relative_to(source)
    return home(root, spec) / relative.with_name(f"{relative.name}.tif")


def facts(root: Path, sample: Sample) -> list[Facts]:
    """Of image and label, what a copy of them is valid for; UsageError if one cannot be reached."""
    files = ((path, _stat(path)) for path in (sample.image, sample.label))
    return [[path.relative_to(root).as_posix(), stat.st_size, stat.st_mtime_ns] for path, stat in files]


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise UsageError(f"{path}: cannot be reached ({error.strerror}): mend the link or fetch the file") from error


def describe(made_of: list[Facts], *, form: str) -> str:
    """The same and the form of what was made, as a line of text."""
    return json.dumps({"version": VERSION, "form": form, "made_of": made_of}, separators=(",", ":"))


def encode(image: Image.Image, label: np.ndarray, *, form: str, description: str) -> bytes:
    """The bytes of a copy."""
    tags, buffer = _TAGS[form] | {_DESCRIPTION: description}, BytesIO()
    Image.fromarray(label).save(buffer, "tiff", save_all=True, append_images=[image], compression=form, tiffinfo=tags)
    return buffer.getvalue()


def can_zstd() -> bool:
    """Whether this Pillow writes and reads TIFFs compressed by Zstandard; some builds do not."""
    try:
        data = encode(Image.new("RGB", (8, 8)), np.zeros((8, 8), np.uint8), form="zstd", description="")
        Image.open(BytesIO(data)).load()
    except (OSError, RuntimeError, ValueError):
        return False
    return True


def description(path: Path) -> str | None:
    """What a copy tells of itself; None if there is none or it is broken."""
    try:
        with Image.open(path) as image:
            return image.tag_v2.get(_DESCRIPTION)
    except Exception:  # Pillow raises many kinds for a broken file
        return None


def read(path: Path) -> tuple[Image.Image, np.ndarray]:
    """The image (RGB) and its train ids (H,W uint8)."""
    try:
        with Image.open(path) as pages:
            label = np.asarray(pages)
            pages.seek(1)
            pages.load()
            return pages, label
    except Exception as error:  # as above
        raise UsageError(
            f"{path}: unreadable copy ({first_line(error)}): take {_folder_of(path)} away, or take this file away and "
            "pack again (python -m datasets.prepare --help)"
        ) from error


def _folder_of(path: Path) -> Path:
    return next((parent for parent in path.parents if parent.parent.name == FOLDER), path.parent)


def new_index(folder: Path, made: Mapping[str, list[Facts]]) -> bytes:
    """The bytes of the index of a data set's copies: those of before and those made now, image -> facts."""
    return (json.dumps({"version": VERSION, "pairs": dict(sorted({**_pairs(folder), **made}.items()))}) + "\n").encode()


def _pairs(folder: Path) -> dict[str, list[Facts]]:
    """What the index tells; nothing if there is none."""
    path = folder / INDEX
    if not path.exists():
        return {}
    try:
        index = json.loads(path.read_bytes())
        version, pairs = index["version"], dict(index["pairs"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path}: unreadable ({first_line(error)}): take this file away and pack again") from error
    if version != VERSION:
        raise UsageError(f"{folder}: packed in version {version}, read is {VERSION}: take that folder away, pack again")
    return pairs


def find(root: Path | str, spec: DatasetSpec, samples: Iterable[Sample]) -> dict[Path, Path]:
    """The copies of those samples that have one: image -> copy; UsageError if an original has changed since."""
    root = spec.base(Path(root).expanduser())
    folder = home(root, spec)
    pairs, copies = _pairs(folder), {}
    for sample in samples if pairs else ():
        made_of = pairs.get(sample.image.relative_to(root).as_posix())
        if made_of is None:
            continue
        copy = location(root, root, spec, sample)
        if made_of != facts(root, sample) or not copy.is_file():
            raise UsageError(
                f"{sample.image}: this image, its label or its copy changed after packing: take {folder} away, or pack "
                f"again with `python -m datasets.prepare {root} --packed --datasets {spec.asked_as}`"
            )
        copies[sample.image] = copy
    return copies
