"""Scenes written as files: the folder trees of six data sets, those of the authors' README or the official ones."""

from __future__ import annotations

import base64
import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from datasets.demo.encodings import write_config, write_labels
from datasets.demo.scene import draw_scene
from datasets.demo.styles import STYLES
from datasets.disk.layouts import Layout
from datasets.registry import DatasetSpec, spec
from utils.errors import UsageError

Task = tuple[str, str, int]  # data set, split, index
VERSION = 1  # of the drawing rules: raise it when the same seed draws other pixels
SPLITS = ("train", "val")
_NUMBERS = {"train": 0, "val": 10000}  # so that no image of a split bears a name of the other


class Tree(NamedTuple):
    """Where the images of a demo domain are written, and in which of the layouts of its data set."""

    row: DatasetSpec
    folder: str  # below the root
    layout: Layout
    images: str  # below the folder

    def image(self, split: str, index: int) -> str:
        """Where an image lies below the folder."""
        number = index + 1 + _NUMBERS[split]
        # 22 characters, as long as the keys of Mapillary.
        key = base64.urlsafe_b64encode(hashlib.md5(f"{self.row.name} {number}".encode()).digest()).decode().rstrip("=")
        return self.images.format(split=self.layout.splits[split][0], number=number, key=key)

    def label(self, split: str, index: int) -> str:
        """Where its label lies; of several forms the one that comes with the downloads."""
        form = -1 if self.row.name == "idd" and self.folder != "idd" else 0  # polygons
        return self.layout.labels[form].of(self.layout.splits[split][0]).label(self.image(split, index))


_FINE = "leftImg8bit/{split}/demo/"
_IDD, _CITYSCAPES = f"{_FINE}{{number:06d}}_leftImg8bit.png", f"{_FINE}demo_{{number:06d}}_000019_leftImg8bit.png"
_KEY = "{key:.8}-{number:08x}.jpg"
_TREES = {  # folder, number of the layout, images
    "readme": {
        "gtav": ("GTAV", 0, "images/{split}/demo/{number:05d}.png"),
        "synthia": ("synthia", 0, "RGB/{split}/{number:07d}.png"),
        "idd": ("idd", 0, f"leftImg8bit_trainvaltest/{_IDD}"),
        "cityscapes": ("cityscapes", 0, f"leftImg8bit_trainvaltest/{_CITYSCAPES}"),
        "bdd100k": ("bdd-100k", 0, f"images/{{split}}/{_KEY}"),
        "mapillary": ("mapillary", 0, "{split}/images/{key}.jpg"),
    },
    "official": {
        "gtav": ("GTAV", 1, "images/{number:05d}.png"),
        "synthia": ("RAND_CITYSCAPES", 1, "RGB/{number:07d}.png"),
        "idd": ("IDD_Segmentation", 2, _IDD),
        "cityscapes": ("cityscapes", 1, _CITYSCAPES),
        "bdd100k": ("bdd100k", 1, f"images/10k/{{split}}/{_KEY}"),
        "mapillary": ("mapillary", 1, "{split}/images/{key}.jpg"),
    },
}
LAYOUTS = tuple(_TREES)


def tree(name: str, layout: str) -> Tree:
    """The tree of a demo domain."""
    row = spec(name)
    folder, number, images = _TREES[layout][name]
    return Tree(row, folder, row.layouts[number], images)


@dataclass(frozen=True)
class Request:
    """What a demo folder holds; equal requests draw equal pixels."""

    seed: int
    train: int
    val: int
    size: tuple[int, int]
    layout: str = "readme"
    version: int = VERSION

    def count(self, split: str) -> int:
        """How many images a split has."""
        return self.train if split == "train" else self.val


def write_demo(
    root: Path | str,
    *,
    domains: Sequence[str] = tuple(STYLES),
    val_only: Sequence[str] = (),
    train: int = 100,
    val: int = 20,
    size: tuple[int, int] = (256, 512),
    seed: int = 304,
    layout: str = "readme",
    workers: int = 0,
) -> dict[Path, bool]:
    """Draw the domains below `root` in their layouts and tell of each folder whether it was drawn or already there.

    Those of `val_only` get no training images.
    """
    request = Request(seed, train, val, size, layout)
    requests = {name: replace(request, train=0) if name in val_only else request for name in (*domains, *val_only)}
    homes = {name: Path(root).expanduser() / tree(name, layout).folder for name in requests}
    missing = {name: found for name, found in requests.items() if not _already_there(homes[name], found)}
    tasks = [(name, split, i) for name, found in missing.items() for split in SPLITS for i in range(found.count(split))]
    for name, found in missing.items():
        _open(homes[name], name, found)
    work = partial(_write_scene, homes, request)
    for _ in tqdm(_run(work, tasks, workers), total=len(tasks), disable=not tasks, desc="drawing", unit="image"):
        pass
    for name, found in missing.items():
        _write_note(homes[name], found, complete=True)
    return {home: name in missing for name, home in homes.items()}


def _open(home: Path, name: str, request: Request) -> None:
    """Make the folder, mark it as a demo under way, and write what comes with the images."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        _write_note(home, request, complete=False)
    except OSError as error:
        raise UsageError(f"{home}: cannot be made ({error.strerror}): choose another ROOT") from error
    official = request.layout == "official"
    if name == "mapillary":
        write_config(home / ("config_v1.2.json" if official else "config.json"), spec(name))
    if official and name == "gtav":
        from scipy.io import savemat  # slow to import

        numbers = {split: np.arange(request.count(split)) + 1 + _NUMBERS[split] for split in SPLITS}
        arrays = {"trainIds": numbers["train"], "valIds": numbers["val"], "testIds": np.arange(0)}
        savemat(home / "split.mat", arrays)
    if official and name == "synthia":
        _write_lists(home / "split_data", tree(name, request.layout), request)


def _write_lists(folder: Path, tree: Tree, request: Request) -> None:
    """Lists of file names, as ``--split_file`` takes them."""
    folder.mkdir(exist_ok=True)
    for split in SPLITS:
        names = [Path(tree.image(split, index)).name for index in range(request.count(split))]
        (folder / f"{tree.row.name}_split_{split}.txt").write_text("".join(f"{name}\n" for name in names))


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
    if {"layout": "readme", **found} != {**asdict(request), "size": list(request.size)}:
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
    where = tree(name, request.layout)
    path, label_path = (homes[name] / place(split, index) for place in (where.image, where.label))
    for target in (path, label_path):
        target.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, compress_level=1, quality=95, subsampling=0)  # each format takes its own
    write_labels(where.row, label_path, labels)
