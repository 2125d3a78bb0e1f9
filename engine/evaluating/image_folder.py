"""Labelling images of which no labels are known: pictures and files of ids, one by one, to be continued at any time."""

import json
import sys
import time
from argparse import Namespace
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
from utils.pictures import overlay, save_picture
from utils.processes import rank, world_size

KINDS = ("colours", "overlay", "train_ids", "cityscapes_ids")  # the last for the classes of Cityscapes only
RECORD = "snapshot.json"


def label_folder(predict: Predictor, args: Namespace, *, out: Path, about: dict[str, Any], classes: ClassSet) -> Path:
    """Label ``--images`` and write below a folder in ``out`` that is named like theirs; returns it.

    ``about`` tells how the labels come about: what was written in another way is done anew.
    """
    root = args.images if args.images.is_dir() else args.images.parent
    folder = out / (root.resolve().name or "images")
    images = ImageFolder(args.images, apart_from=[folder / kind for kind in KINDS], limit=args.limit)
    if rank() == 0:
        tell_skipped(images.skipped)
        prepare(folder, {"images": str(root.resolve()), **about})
    from_first(None)  # the others wait until the folder is as it should be
    mine = range(rank(), len(images), world_size())
    places = {index: targets(folder, images.stem(index), classes) for index in mine}
    todo = {index: paths for index, paths in places.items() if not all(path.exists() for path in paths)}
    start = time.perf_counter()
    broken = label(predict, images, todo=todo, classes=classes, workers=args.num_workers)
    tally = all_sum(torch.tensor([len(todo) - broken, len(mine) - len(todo), broken])).tolist()
    if rank() == 0:
        tell_end(folder, tally, seconds=time.perf_counter() - start)
    if tally[2] == len(images):
        raise UsageError(f"--images {args.images}: not one image could be read; fetch them again")
    return folder


def label(
    predict: Predictor, images: ImageFolder, *, todo: Mapping[int, Sequence[Path]], classes: ClassSet, workers: int
) -> int:
    """Label the images with these indices and write these files of each; returns how many were broken."""
    broken = 0
    loader = picture_loader(images, indices=list(todo), pyramid=predict.inference.pyramid, workers=workers)
    progress = tqdm(loader, images.root.name, leave=False, unit="image", disable=rank() > 0)
    for index, loaded in zip(todo, progress, strict=True):
        if isinstance(loaded, str):
            tqdm.write(f"skipped: {loaded}", file=sys.stderr)
            broken += 1
        else:
            image, *resized = loaded
            prediction = predict(image, resized, index=index)
            write(todo[index], image, prediction=prediction, classes=classes)
    return broken


def targets(folder: Path, name: str, classes: ClassSet) -> list[Path]:
    """The files of one image, which is finished when all are there."""
    kinds = KINDS if classes.names == STANDARD.names else KINDS[:-1]
    return [folder / kind / f"{name}.png" for kind in kinds]


def write(paths: Sequence[Path], image: Tensor, *, prediction: Tensor, classes: ClassSet) -> None:
    """Write what is made of an image (3,H,W uint8) with class ids (H,W uint8), the ids of Cityscapes last."""
    train_ids = prediction.cpu().numpy()
    colours = classes.colourise(train_ids)
    pictures = (colours, overlay(image.permute(1, 2, 0).numpy(), colours), train_ids, CITYSCAPES_IDS[train_ids])
    for path, picture in zip(paths, pictures, strict=False):
        save_picture(path, picture)


def prepare(folder: Path, record: dict[str, Any]) -> None:
    """Write down how the pictures in ``folder`` come about; those that came about in another way are removed first."""
    path = folder / RECORD
    there = [folder / kind for kind in KINDS if (folder / kind).exists()]
    if there and not path.exists():
        raise UsageError(f"{there[0]}: is there already and nothing tells what made it; name another --out")
    before = read_record(path)
    if there and before.get("images") != record["images"]:
        raise UsageError(
            f"{folder}: holds what was made of {before.get('images')}; name another --out for {record['images']}"
        )
    if there and before != json.loads(json.dumps(record)):
        print(
            f"{folder} was made with {before.get('snapshot')} (iteration {before.get('iteration')}) or in another way: "
            "all of it is done anew"
        )
        for picture in [picture for old in there for picture in old.rglob("*.png")]:
            picture.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, record)


def read_record(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def tell_skipped(files: Sequence[Path]) -> None:
    if files:
        names = ", ".join(file.name for file in files[:3]) + (", ..." if len(files) > 3 else "")
        print(f"{len(files)} files are no images and are skipped: {names}")


def tell_end(folder: Path, tally: Sequence[int], *, seconds: float) -> None:
    done, before, broken = tally
    each = f" in {seconds:.1f} s, {seconds / done:.2f} s each" if done else ""
    print(f"{done} images labelled{each}; {before} were finished before; {broken} could not be read")
    print(f"written to {folder}")
