"""Labels of drawn scenes as files, in the encoding of each data set."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.labels import CLASSES, GTAV_PALETTE, IDENTITY, IGNORE, MAPILLARY_CLASSES, colourise
from datasets.registry import DatasetSpec

Box = tuple[int, int, int, int]  # left, top, right, bottom: the pixels at both ends belong to it


def stored_ids(row: DatasetSpec) -> np.ndarray:
    """The inverse of a label table, uint8[256]: of several ids the one of the class's own name, else the lowest."""
    if row.table is IDENTITY:
        return np.arange(256, dtype=np.uint8)
    names = [name.lower() for name in MAPILLARY_CLASSES] if row.name == "mapillary" else []
    stored = np.zeros(256, dtype=np.uint8)
    for train_id, wanted in (*enumerate(CLASSES), (IGNORE, "unlabeled")):
        stored[train_id] = names.index(wanted) if wanted in names else np.flatnonzero(row.table == train_id)[0]
    return stored


def write_labels(row: DatasetSpec, path: Path, labels: np.ndarray) -> None:
    """Train ids H,W as the label file ``path`` of a data set; its suffix chooses between image and polygons."""
    if path.suffix == ".json":
        path.write_text(json.dumps(polygons(labels)))
        return
    stored = stored_ids(row)[labels]
    if row.sixteen_bit:
        # Not zero outside the class channel, as in the real files, so that a reader of the wrong channel is found out.
        counted = (labels >= CLASSES.index("person")) & (labels != IGNORE)
        instances = np.where(counted, 256 + labels.astype(np.uint16), 0)
        _write_16_bit(path, np.stack([stored, instances, np.zeros_like(stored)], -1))
        return
    image = Image.fromarray(stored)
    palette = {"gtav": GTAV_PALETTE, "mapillary": colourise(row.table[: len(MAPILLARY_CLASSES)])}.get(row.name)
    if palette is not None:
        image.putpalette(palette.tobytes())
    image.save(path, compress_level=1)


def _write_16_bit(path: Path, channels: np.ndarray) -> None:
    """An RGB PNG of 16 bits per channel, which Pillow cannot write, from H,W,3."""
    height, width = channels.shape[:2]
    rows = channels.astype(">u2").reshape(height, -1).view(np.uint8)
    unfiltered = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(unfiltered, 1)), (b"IEND", b"")):
            file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))


def polygons(labels: np.ndarray) -> dict[str, object]:
    """Train ids H,W in the form of IDD's polygon files: one rectangle for each run of rows with the same stretch."""
    names = dict(enumerate(CLASSES)) | {CLASSES.index("terrain"): "non-drivable fallback"}
    height, width = labels.shape
    objects = [
        {"label": names[train_id], "deleted": 0, "polygon": [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]}
        for train_id, (x0, y0, x1, y1) in _boxes(labels)
    ]
    return {"imgHeight": height, "imgWidth": width, "objects": objects}


def _boxes(labels: np.ndarray) -> Iterator[tuple[int, Box]]:
    """Boxes of one class each that cover every labelled pixel once."""
    opened: dict[tuple[int, int, int], int] = {}  # class, left, right -> top
    for y in range(len(labels) + 1):
        stretches = set(_stretches(labels[y])) if y < len(labels) else set()
        for stretch in [stretch for stretch in opened if stretch not in stretches]:
            train_id, left, right = stretch
            yield train_id, (left, opened.pop(stretch), right, y - 1)
        for stretch in stretches - opened.keys():
            opened[stretch] = y


def _stretches(row: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Class, first and last place of each stretch of equal labels."""
    for train_id, places in groupby(range(len(row)), key=row.tolist().__getitem__):
        if train_id != IGNORE:
            first, *rest = places
            yield train_id, first, rest[-1] if rest else first


def write_config(path: Path, row: DatasetSpec) -> None:
    """The list of Mapillary's classes, in the form of the file that comes with the data."""
    colours = colourise(row.table[: len(MAPILLARY_CLASSES)]).tolist()
    rows = [
        {"name": name.lower().replace(" ", "-"), "readable": name, "color": colour, "evaluate": name != "Unlabeled"}
        for name, colour in zip(MAPILLARY_CLASSES, colours, strict=True)
    ]
    path.write_text(json.dumps({"labels": rows}, indent=1) + "\n")
