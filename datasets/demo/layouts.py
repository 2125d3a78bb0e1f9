"""Scenes written as files: six folder trees and label encodings, as the real data sets have them."""

from __future__ import annotations

import base64
import hashlib
import json
import multiprocessing
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from datasets.demo.scene import draw_scene
from datasets.demo.styles import STYLES
from datasets.labels import CLASSES, GTAV_PALETTE, IDENTITY, IGNORE, MAPILLARY_CLASSES, colourise
from datasets.specs import DatasetSpec, spec
from utils.errors import UsageError

Task = tuple[str, str, int]  # data set, split, index
VERSION = 1  # of the drawing rules: raise it when the same seed draws other pixels
SPLITS = ("train", "val")
_NUMBERS = {"train": 0, "val": 10000}  # so that no image of a split bears a name of the other
_NAMES = {
    "gtav": "images/{split}/demo/{number:05d}.png",
    "synthia": "RGB/{split}/{number:07d}.png",
    "idd": "leftImg8bit_trainvaltest/leftImg8bit/{split}/demo/{number:06d}_leftImg8bit.png",
    "cityscapes": "leftImg8bit_trainvaltest/leftImg8bit/{split}/demo/demo_{number:06d}_000019_leftImg8bit.png",
    "bdd100k": "images/{split}/{key:.8}-{number:08x}.jpg",
    "mapillary": "{split}/images/{key}.jpg",
}


@dataclass(frozen=True)
class Request:
    """What a demo folder holds; equal requests draw equal pixels."""

    seed: int
    train: int
    val: int
    size: tuple[int, int]
    version: int = VERSION


def write_demo(
    root: Path | str,
    *,
    domains: Sequence[str] = tuple(STYLES),
    train: int = 100,
    val: int = 20,
    size: tuple[int, int] = (256, 512),
    seed: int = 304,
    workers: int = 0,
) -> dict[Path, bool]:
    """Draw the domains below `root` in their layouts and tell of each folder whether it was drawn or already there."""
    request = Request(seed, train, val, size)
    homes = {name: Path(root).expanduser() / spec(name).folder for name in domains}
    missing = [name for name in homes if not _already_there(homes[name], request)]
    tasks = [(name, split, index) for name in missing for split in SPLITS for index in range(getattr(request, split))]
    for name in missing:
        _open(homes[name], spec(name), request)
    work = partial(_write_scene, homes, request)
    for _ in tqdm(_run(work, tasks, workers), total=len(tasks), disable=not tasks, desc="drawing", unit="image"):
        pass
    for name in missing:
        _write_note(homes[name], request, complete=True)
    return {home: name in missing for name, home in homes.items()}


def _open(home: Path, row: DatasetSpec, request: Request) -> None:
    """Make the folder and mark it as a demo under way."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        _write_note(home, request, complete=False)
    except OSError as error:
        raise UsageError(f"{home}: cannot be made ({error.strerror}): choose another ROOT") from error
    if row.name == "mapillary":
        _write_config(home, row)


def _already_there(home: Path, request: Request) -> bool:
    """Whether the folder holds this very demo; whatever else it holds is left alone."""
    note = home / "demo.json"
    if not home.exists() or not any(home.iterdir()):
        return False
    try:
        found = json.loads(note.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"{home}: not empty and not a demo: choose another ROOT, nothing is overwritten") from error
    complete = found.pop("complete", False)
    if found != {**asdict(request), "size": list(request.size)}:
        raise UsageError(f"{home}: holds another demo ({found}): choose another ROOT or remove that folder")
    return complete


def _write_note(home: Path, request: Request, complete: bool) -> None:
    (home / "demo.json").write_text(json.dumps({**asdict(request), "complete": complete}, indent=1) + "\n")


def _run(work: Callable[[Task], None], tasks: list[Task], workers: int) -> Iterator[None]:
    workers = min(workers or os.cpu_count() or 1, max(1, len(tasks)))
    if workers == 1:
        yield from map(work, tasks)
        return
    # Fresh processes: a fork of a process that has used torch may hang.
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap_unordered(work, tasks, chunksize=4)


def _write_scene(homes: dict[str, Path], request: Request, task: Task) -> None:
    name, split, index = task
    rng = np.random.default_rng([request.seed, list(STYLES).index(name), SPLITS.index(split), index])
    image, labels = draw_scene(STYLES[name], rng, request.size)
    row = spec(name)
    path = homes[name] / image_name(row, split, index)
    label_path = row.label_path(path, homes[name])
    for target in (path, label_path):
        target.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, compress_level=1, quality=95, subsampling=0)  # each format takes its own
    _write_labels(row, label_path, labels)


def image_name(row: DatasetSpec, split: str, index: int) -> str:
    """Where an image lies below its data set's folder."""
    number = index + 1 + _NUMBERS[split]
    # 22 characters, as long as the keys of Mapillary.
    key = base64.urlsafe_b64encode(hashlib.md5(f"{row.name} {number}".encode()).digest()).decode().rstrip("=")
    return _NAMES[row.name].format(split=row.splits[split], number=number, key=key)


def stored_ids(row: DatasetSpec) -> np.ndarray:
    """The inverse of a label table, uint8[256]: of several ids the one of the class's own name, else the lowest."""
    if row.table is IDENTITY:
        return np.arange(256, dtype=np.uint8)
    names = [name.lower() for name in MAPILLARY_CLASSES] if row.name == "mapillary" else []
    stored = np.zeros(256, dtype=np.uint8)
    for train_id, wanted in (*enumerate(CLASSES), (IGNORE, "unlabeled")):
        stored[train_id] = names.index(wanted) if wanted in names else np.flatnonzero(row.table == train_id)[0]
    return stored


def _write_labels(row: DatasetSpec, path: Path, labels: np.ndarray) -> None:
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


def _write_config(home: Path, row: DatasetSpec) -> None:
    """The list of Mapillary's classes, in the form of the file that comes with the data."""
    colours = colourise(row.table[: len(MAPILLARY_CLASSES)]).tolist()
    rows = [
        {"name": name.lower().replace(" ", "-"), "readable": name, "color": colour, "evaluate": name != "Unlabeled"}
        for name, colour in zip(MAPILLARY_CLASSES, colours, strict=True)
    ]
    (home / "config.json").write_text(json.dumps({"labels": rows}, indent=1) + "\n")
