"""Packed copies of image and train ids, which load faster than the originals and equal them bit for bit.

A copy is one TIFF of two pages below ``<data root>/packed``: train ids, then the image, compressed by Zstandard or
not at all.  Every copy names the files that it was made from, and the index of a data set names the files of all its
copies.  A copy whose originals have changed is refused.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.registry import DatasetSpec, Sample
from utils.errors import UsageError
from utils.forms import read_json

FOLDER = "packed"
INDEX = "index.json"
FORMS = ("zstd", "raw")
VERSION = 1  # raise it when older copies can no longer be used

# Tags of a TIFF: its description, rows that are compressed together, differences to the left neighbour.
_DESCRIPTION, _ROWS_PER_STRIP, _PREDICTOR = 270, 278, 317
_TAGS = {"zstd": {_ROWS_PER_STRIP: 64, _PREDICTOR: 2}, "raw": {}}

Facts = list[str | int]  # of an original: path below the data root, bytes, time of its last change in nanoseconds


def home(root: Path, spec: DatasetSpec) -> Path:
    """The folder of a data set's copies; each way to read its labels has a folder of its own."""
    # All own data sets are "custom": their titles depend on the run.  A part shares the copies of the whole.
    name = spec.part_of or spec.asked_as.partition(":")[0]
    return root / FOLDER / f"{name}-{hashlib.sha256(spec.reading).hexdigest()[:8]}"


def location(root: Path, spec: DatasetSpec, sample: Sample) -> Path:
    """The path of the copy of a pair."""
    relative = sample.image.relative_to(root)
    return home(root, spec) / relative.with_name(f"{relative.name}.tif")


def facts(root: Path, sample: Sample) -> list[Facts]:
    """The facts about image and label for which a copy of them is valid; UsageError if one cannot be reached."""
    content = []
    for path in (sample.image, sample.label):
        try:
            stat = path.stat()
        except OSError as error:
            raise UsageError(f"{path}: cannot be reached ({error.strerror}): mend the link or fetch it") from error
        content.append([path.relative_to(root).as_posix(), stat.st_size, stat.st_mtime_ns])
    return content


def describe(made_from: list[Facts], *, form: str) -> str:
    """The description of a copy: the facts about its originals and its form, as a line of text."""
    return json.dumps({"version": VERSION, "form": form, "made_of": made_from}, separators=(",", ":"))


def description(path: Path) -> str | None:
    """The description in a copy; None if there is no copy or it is broken."""
    try:
        with Image.open(path) as image:
            return image.tag_v2.get(_DESCRIPTION)
    except Exception:  # Pillow raises many kinds for a broken file
        return None


def encode(image: Image.Image, label: np.ndarray, *, form: str, description: str) -> bytes:
    """The bytes of a copy, which ``datasets.decoding.read_copy`` reads."""
    tags, buffer = _TAGS[form] | {_DESCRIPTION: description}, BytesIO()
    Image.fromarray(label).save(buffer, "tiff", save_all=True, append_images=[image], compression=form, tiffinfo=tags)
    return buffer.getvalue()


def can_zstd() -> bool:
    """Whether this Pillow writes TIFFs compressed by Zstandard; some builds do not."""
    try:
        encode(Image.new("RGB", (8, 8)), np.zeros((8, 8), np.uint8), form="zstd", description="")
    except (OSError, RuntimeError, ValueError):
        return False
    return True


def extended_index(folder: Path, made: Mapping[str, list[Facts]]) -> bytes:
    """The bytes of an index of the copies in its present state and of new ones: image -> facts."""
    pairs = dict(sorted({**_read_index(folder), **made}.items()))
    return (json.dumps({"version": VERSION, "pairs": pairs}) + "\n").encode()


def _read_index(folder: Path) -> dict[str, list[Facts]]:
    """Image -> facts; empty if there is no index."""
    path = folder / INDEX
    if not path.exists():
        return {}
    return read_json(path, {str: object, "pairs": {str: list}}, remedy="take this file away and pack again")["pairs"]


def find(root: Path | str, spec: DatasetSpec, samples: Iterable[Sample]) -> dict[Path, Path]:
    """The copies of those samples that have one: image -> copy; UsageError if an original has changed since."""
    root = spec.base(Path(root).expanduser())
    folder = home(root, spec)
    index, copies = _read_index(folder), {}
    for sample in samples if index else ():
        made_from = index.get(sample.image.relative_to(root).as_posix())
        if made_from is None:
            continue
        copy = location(root, spec, sample)
        if made_from != facts(root, sample) or not copy.is_file():
            raise UsageError(
                f"{sample.image}: this image, its label or its copy changed after packing: take {folder} away, or pack "
                f"again with `python -m datasets.prepare {root} --packed --datasets {spec.asked_as}`"
            )
        copies[sample.image] = copy
    return copies
