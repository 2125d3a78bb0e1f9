"""Labelling images without labels: pictures and files of class ids, one by one, resumable at any time."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from datasets.images import ImageFolder
from datasets.labels import CITYSCAPES_IDS, STANDARD, ClassSet
from datasets.sampling.loaders import picture_loader
from engine.evaluating.prediction import Predictor
from utils.distributed import all_sum, from_first
from utils.errors import UsageError
from utils.files import write_json
from utils.log import log
from utils.pictures import overlay, save_picture
from utils.processes import rank, world_size

KINDS = ("colours", "overlay", "train_ids", "cityscapes_ids")  # the last one only for the classes of Cityscapes
RECORD = "snapshot.json"


def label_folder(
    predict: Predictor,
    path: Path,
    *,
    out: Path,
    record: dict[str, Any],
    classes: ClassSet,
    limit: int = 0,
    workers: int = 0,
) -> Path:
    """Label the images of the folder ``path``, or one image; return the folder of the results.

    It lies in ``out`` and has the name of the images' folder.  ``record`` says how the labels are made: pictures that
    were made in another way are made again.
    """
    root = path if path.is_dir() else path.parent
    folder = out / (root.resolve().name or "images")
    images = ImageFolder(path, apart_from=[folder / kind for kind in KINDS], limit=limit)
    if images.skipped:
        names = ", ".join(file.name for file in images.skipped[:3]) + (", ..." if len(images.skipped) > 3 else "")
        log.info(f"{len(images.skipped)} files are no images and are skipped: {names}")
    if rank() == 0:
        prepare_folder(folder, {"images": str(root.resolve()), **record})
    from_first(None)  # the other processes wait until the folder is ready
    mine = range(rank(), len(images), world_size())
    targets = {index: target_files(folder, images.stem(index), classes) for index in mine}
    todo = {index: files for index, files in targets.items() if not all(file.exists() for file in files)}
    start = time.perf_counter()
    broken = label_images(predict, images, todo=todo, classes=classes, workers=workers)
    tally = all_sum(torch.tensor([len(todo) - broken, len(mine) - len(todo), broken])).tolist()
    log_end(folder, tally, seconds=time.perf_counter() - start)
    if tally[2] == len(images):
        raise UsageError(f"--images {path}: not one image could be read; fetch them again")
    return folder


def label_images(
    predict: Predictor, images: ImageFolder, *, todo: Mapping[int, Sequence[Path]], classes: ClassSet, workers: int
) -> int:
    """Label the images with these indices and write their files; return the number of broken images."""
    broken = 0
    loader = picture_loader(images, indices=list(todo), pyramid=predict.inference.pyramid, workers=workers)
    progress = tqdm(loader, images.root.name, leave=False, unit="image", disable=rank() > 0)
    for index, loaded in zip(todo, progress, strict=True):
        if isinstance(loaded, str):
            log.warning(f"skipped: {loaded}")
            broken += 1
        else:
            image, *resized = loaded
            prediction = predict(image, resized, index=index)
            write_pictures(todo[index], image, prediction=prediction, classes=classes)
    return broken


def target_files(folder: Path, name: str, classes: ClassSet) -> list[Path]:
    """The files of one image; it is finished when all exist."""
    kinds = KINDS if classes.names == STANDARD.names else KINDS[:-1]
    return [folder / kind / f"{name}.png" for kind in kinds]


def write_pictures(files: Sequence[Path], image: Tensor, *, prediction: Tensor, classes: ClassSet) -> None:
    """Write the pictures of an image (3,H,W uint8) with class ids (H,W uint8), in the order of ``KINDS``."""
    train_ids = prediction.cpu().numpy()
    colours = classes.colourise(train_ids)
    pictures = (colours, overlay(image.permute(1, 2, 0).numpy(), colours), train_ids, CITYSCAPES_IDS[train_ids])
    for file, picture in zip(files, pictures, strict=False):
        save_picture(file, picture)


def prepare_folder(folder: Path, record: dict[str, Any]) -> None:
    """Write ``record`` into ``folder``; remove pictures that were made in another way.

    UsageError if the pictures there are of other images, or if nothing says how they were made.
    """
    path = folder / RECORD
    there = [folder / kind for kind in KINDS if (folder / kind).exists()]
    if there and not path.exists():
        raise UsageError(f"{there[0]}: exists already, and no file says how it was made; name another --out")
    try:
        before = json.loads(path.read_text())
    except (OSError, ValueError):
        before = {}
    if there and before.get("images") != record["images"]:
        raise UsageError(
            f"{folder}: holds results for {before.get('images')}; name another --out for {record['images']}"
        )
    if there and before != json.loads(json.dumps(record)):
        log.info(
            f"{folder} was made with {before.get('snapshot')} (iteration {before.get('iteration')}) or in another way: "
            "everything is done again"
        )
        for kind in there:
            for picture in kind.rglob("*.png"):
                picture.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, record)


def log_end(folder: Path, tally: Sequence[int], *, seconds: float) -> None:
    done, before, broken = tally
    each = f" in {seconds:.1f} s, {seconds / done:.2f} s each" if done else ""
    log.info(f"{done} images labelled{each}; {before} were finished before; {broken} could not be read")
    log.info(f"written to {folder}")
