"""Demo data sets on disk. Images that are missing are drawn; all other files are left alone."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from datasets.demo.encodings import mapillary_config, write_labels
from datasets.demo.scene import draw_scene
from datasets.demo.styles import STYLES
from datasets.demo.trees import SPLITS, image_number, tree
from utils.errors import UsageError
from utils.files import write_json, write_text

_VERSION = 2  # of the drawing rules: raise it when the same seed gives other pixels


@dataclass(frozen=True)
class Demo:
    """The contents of a demo folder. Equal contents have equal pixels."""

    name: str
    layout: str
    size: Sequence[int]  # height and width
    seed: int
    train: int  # number of images
    val: int
    version: int = _VERSION


Task = tuple[Path, Demo, str, int]  # folder, contents, split, index


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
    """Draw the domains below ``root``, those of ``val_only`` without training images.

    Return for each folder whether it was drawn (True) or already there (False).
    """
    demos = {
        Path(root).expanduser() / tree(name, layout).folder: Demo(
            name, layout, list(size), seed, 0 if name in val_only else train, val
        )
        for name in (*domains, *val_only)
    }
    missing = {home: demo for home, demo in demos.items() if not _is_complete(home, demo)}
    for home, demo in missing.items():
        _prepare(home, demo)
    tasks = [
        (home, demo, split, index)
        for home, demo in missing.items()
        for split in SPLITS
        for index in range(getattr(demo, split))
    ]
    for _ in tqdm(_draw(tasks, workers), total=len(tasks), disable=not tasks, desc="drawing", unit="image"):
        pass
    for home, demo in missing.items():
        _write_note(home, demo, complete=True)
    return {home: home in missing for home in demos}


def _is_complete(home: Path, demo: Demo) -> bool:
    """Whether the folder holds this very demo; UsageError if it holds anything else."""
    if not home.exists() or not any(home.iterdir()):
        return False
    try:
        note = json.loads((home / "demo.json").read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"{home}: is not empty and holds no demo data: choose another ROOT") from error
    complete = note.pop("complete", False)
    if note != asdict(demo):
        raise UsageError(f"{home}: holds another demo ({note}): choose another ROOT or remove that folder")
    return complete


def _write_note(home: Path, demo: Demo, *, complete: bool) -> None:
    write_json(home / "demo.json", {**asdict(demo), "complete": complete})


def _prepare(home: Path, demo: Demo) -> None:
    """Make the folder and write the files that come with the images."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        _write_note(home, demo, complete=False)
    except OSError as error:
        raise UsageError(f"{home}: cannot be made ({error.strerror}): choose another ROOT") from error
    place, official = tree(demo.name, demo.layout), demo.layout == "official"
    if demo.name == "mapillary":
        write_json(home / ("config_v1.2.json" if official else "config.json"), mapillary_config(place.dataset))
    if demo.name == "gtav" and official:
        from scipy.io import savemat  # slow to import

        numbers = {split: [image_number(split, index) for index in range(getattr(demo, split))] for split in SPLITS}
        savemat(home / "split.mat", {"trainIds": numbers["train"], "valIds": numbers["val"], "testIds": []})
    if demo.name == "synthia" and official:  # lists for --split_file
        (home / "split_data").mkdir(exist_ok=True)
        for split in SPLITS:
            names = [Path(place.image(split, index)).name for index in range(getattr(demo, split))]
            write_text(home / "split_data" / f"synthia_split_{split}.txt", "".join(f"{name}\n" for name in names))


def _draw(tasks: list[Task], workers: int) -> Iterator[None]:
    """Draw all scenes, in several processes or in this one."""
    workers = min(workers or os.cpu_count() or 1, max(1, len(tasks)))
    if workers == 1:
        yield from map(_write_scene, tasks)
        return
    # Fresh processes: a fork of a process that has used torch may hang.
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap_unordered(_write_scene, tasks, chunksize=4)


def _write_scene(task: Task) -> None:
    """Draw one scene and write its image and its label."""
    home, demo, split, index = task
    rng = np.random.default_rng([demo.seed, list(STYLES).index(demo.name), SPLITS.index(split), index])
    image, labels = draw_scene(STYLES[demo.name], rng, demo.size)
    place = tree(demo.name, demo.layout)
    image_path, label_path = home / place.image(split, index), home / place.label(split, index)
    for path in (image_path, label_path):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(image_path, compress_level=1, quality=95, subsampling=0)  # for PNG, and for JPEG
    write_labels(place.dataset, label_path, labels)
