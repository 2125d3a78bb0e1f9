"""Demo data sets on disk. Images that are missing are drawn; all other files are left alone."""

import hashlib
import multiprocessing
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from datasets.demo.encodings import write_labels
from datasets.demo.scene import draw_scene
from datasets.demo.styles import CONDITIONS, FURTHER, STYLES
from datasets.registry import SPECS
from utils.errors import UsageError
from utils.files import errors_about, write_json, write_text
from utils.forms import ANYTHING, read_json

_VERSION = 3  # of the drawing rules: raise it when the same seed gives other pixels
SPLITS = ("train", "val")
_DARK = 50  # the mean grey level below which an image is called night
_ALL = STYLES | FURTHER
# What stands for the stars in the pattern of a layout, from the last one to the first.
_ANON = ("GOPR0001_frame_{number:06d}", "GOPR0001", "{condition}")
_STARS = {
    "gtav": ("{number:05d}", "demo"),
    "synthia": ("{number:07d}",),
    "idd": ("{number:06d}", "demo"),
    "cityscapes": ("demo_{number:06d}_000019", "demo"),
    "bdd100k": ("{key:.8}-{number:08x}",),
    "mapillary": ("{key:.22}",),
    "acdc": _ANON,
    "dark_zurich": _ANON,
    "muses": ("REC0001_frame_{number:06d}", "{hour}", "{condition}"),
    "urbansyn": ("{number:04d}",),
}
_CONDITIONS = {  # the images have them in turn
    "acdc": [(word, "") for word in ("fog", "night", "rain", "snow")],
    "muses": list(product(("clear", "fog", "rain", "snow"), ("day", "night"))),
}


class Tree(NamedTuple):
    """The form of one demo data set on disk."""

    folder: str  # below the root
    layout: int = 0  # place in the data set's list of layouts


_README = {name: Tree(SPECS[name].folders[0]) for name in _ALL}
_OFFICIAL = {"synthia": Tree("RAND_CITYSCAPES", 1), "idd": Tree("IDD_Segmentation", 2), "bdd100k": Tree("bdd100k", 1)}
_OFFICIAL |= {name: Tree(SPECS[name].folders[0], 1) for name in ("gtav", "cityscapes", "mapillary")}
LAYOUTS = {"readme": _README, "official": _README | _OFFICIAL}


def _condition(name: str, index: int) -> tuple[str, str]:
    """The weather and the hour of an image, if the folders of its data set name them."""
    conditions = _CONDITIONS.get(name, [("", "")])
    return conditions[index % len(conditions)]


def scene_files(name: str, layout: str, split: str, index: int) -> tuple[str, str]:
    """The paths of a scene's image and label below the folder of its data set."""
    form = SPECS[name].layouts[LAYOUTS[layout][name].layout]
    owners, number = form.splits[split][0], index + 1 + 10000 * SPLITS.index(split)  # no number is in two splits
    condition, hour = _condition(name, index)
    facts = {"number": number, "key": hashlib.md5(f"{name} {number}".encode()).hexdigest()}
    image = form.images.format(split=owners).replace("**", "*")
    for star in _STARS[name]:
        image = star.format(**facts, condition=condition, hour=hour).join(image.rsplit("*", 1))
    places = form.label_places(image, owners)
    return image, places[-1 if (name, layout) == ("idd", "official") else 0]  # the last are polygons


def write_demo(
    root: Path | str,
    *,
    train: int,
    val: int,
    size: Sequence[int],
    domains: Sequence[str] = tuple(STYLES),
    val_only: Sequence[str] = (),
    seed: int = 304,
    layout: str = "readme",
    workers: int = 0,
) -> dict[Path, bool]:
    """Draw the domains, those of ``val_only`` without training images; return for each folder if it was drawn."""
    notes = {}  # folder -> what its demo.json holds; demos of equal notes have equal pixels
    for name in (*domains, *val_only):
        note = {"name": name, "layout": layout, "size": list(size), "seed": seed, "version": _VERSION}
        note |= {"train": 0 if name in val_only or "train" not in SPECS[name].splits else train, "val": val}
        notes[Path(root).expanduser() / LAYOUTS[layout][name].folder] = note
    missing = {home: note for home, note in notes.items() if not _is_complete(home, note)}
    tasks = []
    for home, note in missing.items():
        _prepare(home, note)
        tasks += [(home, note, split, index) for split in SPLITS for index in range(note[split])]
    workers = min(workers or os.cpu_count() or 1, max(1, len(tasks)))
    # Fresh processes: a fork of a process that has used torch may hang.
    fresh, ignore = multiprocessing.get_context("spawn"), (signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for us alone
    with ThreadPool(1) if workers == 1 else fresh.Pool(workers, signal.signal, ignore) as pool:
        drawn = pool.imap_unordered(_write_scene, tasks, chunksize=4)
        list(tqdm(drawn, total=len(tasks), disable=not tasks, desc="drawing", unit="image"))
    for home, note in missing.items():
        write_json(home / "demo.json", note | {"complete": True})
    return {home: home in missing for home in notes}


def _is_complete(home: Path, note: dict[str, Any]) -> bool:
    """Whether the folder holds this very demo; UsageError if it holds anything else."""
    if not home.exists() or not any(home.iterdir()):
        return False
    try:
        held = read_json(home / "demo.json", ANYTHING, remedy="")
    except UsageError as error:
        raise UsageError(f"{home}: is not empty and holds no demo data: choose another ROOT") from error
    complete = held.pop("complete", False)
    if held != note:
        raise UsageError(f"{home}: holds another demo ({held}): choose another ROOT or remove that folder")
    return complete


def _prepare(home: Path, note: dict[str, Any]) -> None:
    """Make the folder and write the files that divide the images of a flat layout."""
    home.mkdir(parents=True, exist_ok=True)
    write_json(home / "demo.json", note | {"complete": False})
    name, layout = note["name"], note["layout"]
    files = {split: [scene_files(name, layout, split, index)[0] for index in range(note[split])] for split in SPLITS}
    if (name, layout) == ("gtav", "official"):
        from scipy.io import savemat  # slow to import

        train, val = ([int(Path(file).stem) for file in files[split]] for split in SPLITS)
        with errors_about(home / "split.mat"):
            savemat(home / "split.mat", {"trainIds": train, "valIds": val, "testIds": []})
    elif SPECS[name].layouts[LAYOUTS[layout][name].layout].flat:  # lists for --split_file
        (home / "split_data").mkdir(exist_ok=True)
        for split in filter(files.get, SPLITS):  # an empty list is refused
            lines = "".join(f"{Path(file).name}\n" for file in files[split])
            write_text(home / "split_data" / f"{name}_split_{split}.txt", lines)


def _write_scene(task: tuple[Path, dict[str, Any], str, int]) -> None:
    """Draw one scene, of a folder, its note, a split and an index. Write its image, label and perhaps attributes."""
    home, note, split, index = task
    name = note["name"]
    rng = np.random.default_rng([note["seed"], list(_ALL).index(name), SPLITS.index(split), index])
    style = _ALL[name]
    for word in _condition(name, index):
        style = replace(style, **CONDITIONS.get(word, {}))
    image, labels = draw_scene(style, rng, note["size"])
    image_path, label_path = (home / file for file in scene_files(name, note["layout"], split, index))
    for path in (image_path, label_path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with errors_about(home):
        Image.fromarray(image).save(image_path, compress_level=1, quality=95, subsampling=0)  # for PNG, and for JPEG
        write_labels(SPECS[name], label_path, labels)
        if SPECS[name].attributes:
            attributes = {"timeofday": "night" if image.mean() < _DARK else "daytime"}
            path = home / "labels" / "100k" / split / f"{image_path.stem}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, {"name": image_path.stem, "attributes": attributes})
