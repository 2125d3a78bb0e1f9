"""Label files in the encoding of each data set."""

import json
import struct
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.labels import CLASSES, GTAV_PALETTE, IDENTITY, IGNORE, MAPILLARY_CLASSES, STANDARD
from datasets.registry import DatasetSpec


def stored_ids(dataset: DatasetSpec) -> np.ndarray:
    """The stored id of each train id, uint8[256]: the one with the name of the class, else the lowest."""
    if dataset.table is IDENTITY:
        return np.arange(256, dtype=np.uint8)
    names = [name.lower() for name in MAPILLARY_CLASSES] if dataset.name == "mapillary" else []
    stored = np.zeros(256, dtype=np.uint8)
    for train_id, name in (*enumerate(CLASSES), (IGNORE, "unlabeled")):
        stored[train_id] = names.index(name) if name in names else np.flatnonzero(dataset.table == train_id)[0]
    return stored


def write_labels(dataset: DatasetSpec, path: Path, labels: np.ndarray) -> None:
    """Write train ids H,W as a label file. The suffix of the path chooses between an image and polygons."""
    stored = labels if dataset.holds_train_ids(path) else stored_ids(dataset)[labels]
    if path.suffix == ".json":
        path.write_text(json.dumps(polygons(labels)))
    elif dataset.sixteen_bit:
        # The second channel holds instances in the real files; it is not zero, so that nobody reads the wrong channel.
        write_16_bit(path, np.stack([stored, np.full_like(stored, 200), np.zeros_like(stored)], -1))
    else:
        image = Image.fromarray(stored)
        palettes = {"gtav": GTAV_PALETTE, "mapillary": STANDARD.colourise(dataset.table[: len(MAPILLARY_CLASSES)])}
        if dataset.name in palettes:
            image.putpalette(palettes[dataset.name].tobytes())
        image.save(path, compress_level=1)


def write_16_bit(path: Path, channels: np.ndarray) -> None:
    """Write H,W,3 as an RGB PNG of 16 bits per channel, which Pillow cannot write."""
    height, width = channels.shape[:2]
    rows = channels.astype(">u2").reshape(height, -1).view(np.uint8)
    unfiltered = np.pad(rows, ((0, 0), (1, 0))).tobytes()  # a zero before each row
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for name, data in ((b"IHDR", header), (b"IDAT", zlib.compress(unfiltered, 1)), (b"IEND", b"")):
            file.write(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)))


def polygons(labels: np.ndarray) -> dict[str, object]:
    """Train ids H,W in the form of IDD's polygon files: a rectangle for each run of equal labels in equal rows."""
    names = {**dict(enumerate(CLASSES)), CLASSES.index("terrain"): "non-drivable fallback"}
    height, width = labels.shape
    objects, above = [], {}
    for y, row in enumerate(labels.tolist()):
        edges = [0, *(np.flatnonzero(np.diff(labels[y])) + 1).tolist(), width]
        runs = {(row[left], left, right - 1): [] for left, right in pairwise(edges) if row[left] != IGNORE}
        for run in runs:
            train_id, left, right = run
            runs[run] = corners = above.get(run) or [[left, y], [right, y], [right, y], [left, y]]
            if run not in above:
                objects.append({"label": names[train_id], "deleted": 0, "polygon": corners})
            corners[2][1] = corners[3][1] = y  # the rectangle grows downward
        above = runs
    return {"imgHeight": height, "imgWidth": width, "objects": objects}
