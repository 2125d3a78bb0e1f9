"""Demo data sets on disk. Images that are missing are drawn; all other files are left alone."""

import hashlib
import json
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from datasets.demo.encodings import write_labels
from datasets.demo.scene import draw_scene
from datasets.demo.styles import STYLES
from datasets.registry import SPECS
from utils.errors import UsageError
from utils.files import write_json, write_text

_VERSION = 3  # of the drawing rules: raise it when the same seed gives other pixels
SPLITS = ("train", "val")
_CITY = "leftImg8bit/{split}/demo/demo_{number:06d}_000019_leftImg8bit.png"
_IDD = "leftImg8bit/{split}/demo/{number:06d}_leftImg8bit.png"
_BDD = "{key:.8}-{number:08x}.jpg"


class Tree(NamedTuple):
    """Where the files of one demo data set lie."""

    folder: str  # below the root
    layout: int  # place in the data set's list of layouts
    images: str  # pattern below the folder


LAYOUTS = {
    "readme": {
        "gtav": Tree("GTAV", 0, "images/{split}/demo/{number:05d}.png"),
        "synthia": Tree("synthia", 0, "RGB/{split}/{number:07d}.png"),
        "idd": Tree("idd", 0, f"leftImg8bit_trainvaltest/{_IDD}"),
        "cityscapes": Tree("cityscapes", 0, f"leftImg8bit_trainvaltest/{_CITY}"),
        "bdd100k": Tree("bdd-100k", 0, f"images/{{split}}/{_BDD}"),
        "mapillary": Tree("mapillary", 0, "{split}/images/{key:.22}.jpg"),
    },
    "official": {
        "gtav": Tree("GTAV", 1, "images/{number:05d}.png"),
        "synthia": Tree("RAND_CITYSCAPES", 1, "RGB/{number:07d}.png"),
        "idd": Tree("IDD_Segmentation", 2, _IDD),
        "cityscapes": Tree("cityscapes", 1, _CITY),
        "bdd100k": Tree("bdd100k", 1, f"images/10k/{{split}}/{_BDD}"),
        "mapillary": Tree("mapillary", 1, "{split}/images/{key:.22}.jpg"),
    },
}


def scene_files(name: str, layout: str, split: str, index: int) -> tuple[str, str]:
    """The paths of a scene's image and label below the folder of its data set."""
    tree = LAYOUTS[layout][name]
    form = SPECS[name].layouts[tree.layout]
    owners, number = form.splits[split][0], index + 1 + 10000 * SPLITS.index(split)  # no number is in two splits
    key = hashlib.md5(f"{name} {number}".encode()).hexdigest()
    image = tree.images.format(split=owners, number=number, key=key)
    rule = form.labels[-1 if tree.folder == "IDD_Segmentation" else 0]  # IDD's official labels are polygons
    return image, rule.of(owners).label(image)


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

    def indices(self, split: str) -> range:
        return range(getattr(self, split))


Task = tuple[Path, Demo, str, int]  # folder, contents, split, index


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
    """Draw the domains below ``root``, those of ``val_only`` without training images.

    Return for each folder whether it was drawn (True) or already there (False).
    """
    demos = {}
    for name in (*domains, *val_only):
        home = Path(root).expanduser() / LAYOUTS[layout][name].folder
        demos[home] = Demo(name, layout, list(size), seed, 0 if name in val_only else train, val)
    missing = {home: demo for home, demo in demos.items() if not _is_complete(home, demo)}
    for home, demo in missing.items():
        _prepare(home, demo)
    tasks = [(*item, split, index) for item in missing.items() for split in SPLITS for index in item[1].indices(split)]
    for _ in tqdm(_draw(tasks, workers), total=len(tasks), disable=not tasks, desc="drawing", unit="image"):
        pass
    for home, demo in missing.items():
        write_json(home / "demo.json", {**asdict(demo), "complete": True})
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


def _prepare(home: Path, demo: Demo) -> None:
    """Make the folder and write the files that divide the images."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        write_json(home / "demo.json", {**asdict(demo), "complete": False})
    except OSError as error:
        raise UsageError(f"{home}: cannot be made ({error.strerror}): choose another ROOT") from error
    stems = {
        split: [Path(scene_files(demo.name, demo.layout, split, index)[0]).stem for index in demo.indices(split)]
        for split in SPLITS
    }
    if demo.name == "gtav" and demo.layout == "official":
        from scipy.io import savemat  # slow to import

        train, val = ([int(stem) for stem in stems[split]] for split in SPLITS)
        savemat(home / "split.mat", {"trainIds": train, "valIds": val, "testIds": []})
    if demo.name == "synthia" and demo.layout == "official":  # lists for --split_file
        (home / "split_data").mkdir(exist_ok=True)
        for split in SPLITS:
            lines = "".join(f"{stem}.png\n" for stem in stems[split])
            write_text(home / "split_data" / f"synthia_split_{split}.txt", lines)


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
    image_path, label_path = (home / file for file in scene_files(demo.name, demo.layout, split, index))
    for path in (image_path, label_path):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(image_path, compress_level=1, quality=95, subsampling=0)  # for PNG, and for JPEG
    write_labels(SPECS[demo.name], label_path, labels)
