"""Labelling images, videos and cameras without labels: file by file, resumable at any time."""

from collections.abc import Iterator, Sequence
from datetime import datetime
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
from engine.evaluating.prediction import Predictor, likeliest
from engine.evaluating.scoring import write_entropy
from engine.evaluating.video_labels import label_video, label_videos
from engine.options.evaluation_options import EvaluationOptions, SubjectOptions
from utils.distributed import all_sum, from_first
from utils.errors import CommonError, UsageError
from utils.files import PARTIAL, hold, write_json
from utils.forms import ANYTHING, read_json
from utils.log import counted, log
from utils.pictures import overlay, save_picture
from utils.processes import rank, world_size
from utils.videos import ffmpeg, open_camera

ENTROPY = "entropy"  # pictures of this kind are made on request
KINDS = ("colours", "overlay", "train_ids", "cityscapes_ids")  # the last one only for the classes of Cityscapes
ONLY_IMAGES = "note: --entropy: makes pictures of images only, not of videos"
RESULTS = (*KINDS, ENTROPY, "side_by_side")  # the last one for videos


def label_folder(
    predict: Predictor, options: EvaluationOptions, classes: ClassSet, *, out: Path, record: dict[str, Any]
) -> None:
    """Label the images and videos of ``--images``, a folder or one file, into a folder below ``out``.

    ``record`` says how the labels are made.  UsageError if the folder has labels that were made in another way.
    """
    images, folder = image_folder(options.subject, out, RESULTS, or_videos=True)
    if images.videos:
        ffmpeg()  # raises, before anything is done, where it is missing
    if images.skipped:
        names = some([file.name for file in images.skipped], 3)
        log.info(f"skipped: {counted(len(images.skipped), 'file')} of other kinds: {names}")
    if options.measures.entropy and images.videos:
        log.warning(ONLY_IMAGES)
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
        if len(images):
            log.info(f"images: {done} labelled, {before} finished before, {broken} unreadable")
        broken += label_videos(predict, options.subject, classes, videos=images.videos, folder=folder)
        log.info(f"written to {folder}")
    if broken == len(images) + len(images.videos):
        raise UsageError(f"--images {options.subject.images}: not one of the files could be read; fetch them again")


def label_camera(
    predict: Predictor, options: EvaluationOptions, classes: ClassSet, *, out: Path, record: dict[str, Any]
) -> None:
    """Label a camera until Ctrl-C or ``--limit`` into new videos below ``out``; see ``label_folder``."""
    number = options.subject.camera
    if world_size() > 1:
        raise CommonError(f"--images {number}: one process can read a camera; start the program without torchrun")
    camera = open_camera(number)
    if options.measures.entropy:
        log.warning(ONLY_IMAGES)
    with hold(out / f"camera{number}") as folder:
        prepare_folder(folder, {"images": f"camera {number}", **record})
        log.info(f"camera {number}: {camera.size[0]} x {camera.size[1]}; Ctrl-C ends the video")
        targets = {kind: folder / kind / f"{datetime.now():%Y%m%d_%H%M%S}.mp4" for kind in options.subject.video_as}
        label_video(predict, camera, classes, targets=targets, limit=options.subject.limit)
        log.info(f"written to {folder}")


def image_folder(
    subject: SubjectOptions, out: Path, kinds: Sequence[str], *, or_videos: bool = False
) -> tuple[ImageFolder, Path]:
    """The images of ``--images`` and the folder of their results, whose own pictures, in ``kinds``, are left out."""
    path = subject.images
    root = path if path.is_dir() else path.parent
    folder = out / (root.resolve().name or "images")
    apart = [folder / kind for kind in kinds]
    return ImageFolder(path, apart_from=apart, limit=subject.limit, or_videos=or_videos), folder


def read_images(
    images: ImageFolder, indices: Sequence[int], pyramid: Pyramid, *, workers: int, device: str = "cpu"
) -> Iterator[Sequence]:
    """Index, image and further sizes of each image at ``indices``; broken ones are reported and left out."""
    loader = picture_loader(images, indices=indices, pyramid=pyramid, workers=workers, device=device)
    progress = tqdm(loader, images.root.name, leave=False, unit="image", disable=rank() > 0 or not indices)
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
    if not same and any((folder / kind).exists() for kind in RESULTS):
        raise UsageError(
            f"{folder}: holds labels of other images, of other weights or made in another way; delete it, or name "
            "another --out"
        )
    for kind in RESULTS:
        for partial in (folder / kind).rglob(f".*{PARTIAL}"):
            partial.unlink()  # of a killed process
    write_json(path, record)
