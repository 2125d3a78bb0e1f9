"""Labelling images without labels: pictures and files of class ids, one by one, resumable at any time."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from datasets.disk.layouts import some
from datasets.images import ImageFolder
from datasets.labels import CITYSCAPES_IDS, STANDARD, ClassSet
from datasets.sampling.loaders import picture_loader
from datasets.transforms import Pyramid
from engine.evaluating.measures import write_entropy
from engine.evaluating.prediction import Predictor, likeliest
from engine.options.evaluation_options import EvaluationOptions, SubjectOptions
from utils.distributed import all_sum, from_first
from utils.errors import UsageError
from utils.files import hold, write_json
from utils.forms import ANYTHING, read_json
from utils.log import log
from utils.pictures import overlay, save_picture
from utils.processes import rank, world_size

ENTROPY = "entropy"  # pictures of this kind are made on request
KINDS = ("colours", "overlay", "train_ids", "cityscapes_ids")  # the last one only for the classes of Cityscapes


def label_folder(
    predict: Predictor, options: EvaluationOptions, classes: ClassSet, *, out: Path, record: dict[str, Any]
) -> None:
    """Label the images of ``--images``, a folder or one image, into a folder below ``out``.

    ``record`` says how the labels are made.  UsageError if the folder has labels that were made in another way.
    """
    images, folder = image_folder(options.subject, out, (*KINDS, ENTROPY))
    if images.skipped:
        names = some([file.name for file in images.skipped], 3)
        log.info(f"{len(images.skipped)} files are no images and are skipped: {names}")
    with hold(folder):
        if rank() == 0:
            prepare_folder(folder, {"images": str(images.root.resolve()), **record})
        from_first(None)  # the other processes wait until the folder is ready
        mine = range(rank(), len(images), world_size())
        kinds = KINDS if classes.names == STANDARD.names else KINDS[:-1]
        kinds += (ENTROPY,) if options.measures.entropy else ()
        targets = {index: [folder / kind / f"{images.stem(index)}.png" for kind in kinds] for index in mine}
        todo = {index: files for index, files in targets.items() if not all(file.exists() for file in files)}
        where = {"workers": options.machine.workers, "device": predict.device.type}
        loaded = read_images(images, list(todo), predict.inference.pyramid, **where)
        done = 0
        for index, image, *resized in loaded:
            maps = predict.maps(image, resized, index=index)
            if options.measures.entropy:
                write_entropy(todo[index].pop(), predict.probabilities(maps))
            prediction = likeliest(maps, dim=0)
            del maps  # before the next ones are computed
            write_pictures(todo[index], image, prediction=prediction, classes=classes)
            done += 1
        done, before, broken = all_sum(torch.tensor([done, len(mine) - len(todo), len(todo) - done])).tolist()
        log.info(f"{done} images labelled; {before} were finished before; {broken} could not be read")
        log.info(f"written to {folder}")
    if broken == len(images):
        raise UsageError(f"--images {options.subject.images}: not one image could be read; fetch them again")


def image_folder(subject: SubjectOptions, out: Path, kinds: Sequence[str]) -> tuple[ImageFolder, Path]:
    """The images of ``--images`` and the folder of their results, whose own pictures, in ``kinds``, are left out."""
    path = subject.images
    root = path if path.is_dir() else path.parent
    folder = out / (root.resolve().name or "images")
    return ImageFolder(path, apart_from=[folder / kind for kind in kinds], limit=subject.limit), folder


def read_images(
    images: ImageFolder, indices: Sequence[int], pyramid: Pyramid, *, workers: int, device: str = "cpu"
) -> Iterator[Sequence]:
    """Index, image and further sizes of each image at ``indices``; broken ones are reported and left out."""
    loader = picture_loader(images, indices=indices, pyramid=pyramid, workers=workers, device=device)
    progress = tqdm(loader, images.root.name, leave=False, unit="image", disable=rank() > 0)
    for index, loaded in zip(indices, progress, strict=True):
        if isinstance(loaded, str):
            log.error(f"skipped: {loaded}")
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
    """Write ``record`` into ``folder``; UsageError if pictures in it were made in another way."""
    path = folder / "snapshot.json"
    before = read_json(path, ANYTHING, remedy=f"delete {folder}, or name another --out") if path.exists() else {}
    same = all(before.get(key) == record[key] for key in ("images", "weights", "protocol"))
    if not same and any((folder / kind).exists() for kind in KINDS):
        raise UsageError(
            f"{folder}: holds labels of other images, of other weights or made in another way; delete it, or name "
            "another --out"
        )
    write_json(path, record)
