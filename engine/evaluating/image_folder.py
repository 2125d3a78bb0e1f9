"""Labelling images without labels: pictures and files of class ids, one by one, resumable at any time."""

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from datasets.images import ImageFolder
from datasets.labels import CITYSCAPES_IDS, STANDARD, ClassSet
from datasets.sampling.loaders import picture_loader
from datasets.transforms import Pyramid
from engine.evaluating.prediction import Predictor
from engine.options.evaluation_options import EvaluationOptions
from utils.distributed import all_sum, from_first
from utils.errors import UsageError
from utils.files import write_json
from utils.log import log
from utils.pictures import overlay, save_picture
from utils.processes import rank, world_size

KINDS = ("colours", "overlay", "train_ids", "cityscapes_ids")  # the last one only for the classes of Cityscapes


def label_folder(
    predict: Predictor, options: EvaluationOptions, *, out: Path, record: dict[str, Any], classes: ClassSet
) -> Path:
    """Label the images of ``--images``, a folder or one image; return the folder of the results, below ``out``.

    ``record`` says how the labels are made: pictures that were made in another way are made again.
    """
    path, workers = options.subject.images, options.machine.workers
    images, folder = image_folder(path, out, KINDS, limit=options.subject.limit)
    if images.skipped:
        names = ", ".join(file.name for file in images.skipped[:3]) + (", ..." if len(images.skipped) > 3 else "")
        log.info(f"{len(images.skipped)} files are no images and are skipped: {names}")
    if rank() == 0:
        prepare_folder(folder, {"images": str(images.root.resolve()), **record})
    from_first(None)  # the other processes wait until the folder is ready
    mine = range(rank(), len(images), world_size())
    kinds = KINDS if classes.names == STANDARD.names else KINDS[:-1]
    targets = {index: [folder / kind / f"{images.stem(index)}.png" for kind in kinds] for index in mine}
    todo = {index: files for index, files in targets.items() if not all(file.exists() for file in files)}
    start, done = time.perf_counter(), 0
    for index, image, *resized in read_images(images, list(todo), predict.inference.pyramid, workers=workers):
        write_pictures(todo[index], image, prediction=predict(image, resized, index=index), classes=classes)
        done += 1
    done, before, broken = all_sum(torch.tensor([done, len(mine) - len(todo), len(todo) - done])).tolist()
    seconds = time.perf_counter() - start
    each = f" in {seconds:.1f} s, {seconds / done:.2f} s each" if done else ""
    log.info(f"{done} images labelled{each}; {before} were finished before; {broken} could not be read")
    log.info(f"written to {folder}")
    if broken == len(images):
        raise UsageError(f"--images {path}: not one image could be read; fetch them again")
    return folder


def image_folder(path: Path, out: Path, kinds: Sequence[str], *, limit: int) -> tuple[ImageFolder, Path]:
    """The images of ``path`` and the folder of their results, whose own pictures, in ``kinds``, are not among them."""
    root = path if path.is_dir() else path.parent
    folder = out / (root.resolve().name or "images")
    return ImageFolder(path, apart_from=[folder / kind for kind in kinds], limit=limit), folder


def read_images(images: ImageFolder, indices: Sequence[int], pyramid: Pyramid, *, workers: int) -> Iterator[Sequence]:
    """Index, image and further sizes of each image at ``indices``; broken ones are reported and left out."""
    loader = picture_loader(images, indices=indices, pyramid=pyramid, workers=workers)
    progress = tqdm(loader, images.root.name, leave=False, unit="image", disable=rank() > 0)
    for index, loaded in zip(indices, progress, strict=True):
        if isinstance(loaded, str):
            log.warning(f"skipped: {loaded}")
        else:
            yield index, *loaded


def write_pictures(files: Sequence[Path], image: Tensor, *, prediction: Tensor, classes: ClassSet) -> None:
    """Write the pictures of an image (3,H,W uint8) with class ids (H,W uint8), in the order of ``KINDS``."""
    train_ids = prediction.cpu().numpy()
    colours = classes.colourise(train_ids)
    pictures = (colours, overlay(image.permute(1, 2, 0).numpy(), colours), train_ids, CITYSCAPES_IDS[train_ids])
    for file, picture in zip(files, pictures, strict=False):
        save_picture(file, picture)


def prepare_folder(folder: Path, record: dict[str, Any]) -> None:
    """Write ``record`` into ``folder``; remove pictures that were made in another way.

    UsageError if there are pictures of other images.
    """
    path = folder / "snapshot.json"
    there = [folder / kind for kind in KINDS if (folder / kind).exists()]
    try:
        before = json.loads(path.read_text())
    except (OSError, ValueError):
        before = {}
    if there and before.get("images") != record["images"]:
        made_of = before.get("images", "unknown images")
        raise UsageError(f"{folder}: holds results for {made_of}; name another --out for {record['images']}")
    if there and before != json.loads(json.dumps(record)):
        log.info(
            f"{folder} was made with {before.get('snapshot')} (iteration {before.get('iteration')}) or in another way: "
            "everything is done again"
        )
        for picture in (file for kind in there for file in kind.rglob("*.png")):
            picture.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, record)
