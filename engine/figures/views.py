"""The images of which figures are drawn, one by one, as the network sees them."""

import sys
from argparse import Namespace
from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor
from tqdm import tqdm

from datasets.images import ImageFolder, LabelledImages
from datasets.labels import ClassSet
from datasets.pyramid import Pyramid
from datasets.sampling.loaders import picture_loader
from engine.build import evaluation_batches
from engine.data_report import labelled_images
from utils.processes import rank, world_size

SHOWN = ("building", "vegetation", "sky", "car", "sidewalk", "pole")  # as published


class View(NamedTuple):
    """An image of a domain or folder."""

    index: int  # its number there
    name: str
    image: Tensor  # 3,H,W uint8
    labels: Tensor | None  # H,W uint8; None for images without


def shown_classes(args: Namespace, classes: ClassSet) -> list[int]:
    """The ids of the classes that are shown; all where none has one of the published names."""
    every = args.all_class or not set(SHOWN) & set(classes.names)
    return [k for k, name in enumerate(classes.names) if every or name in SHOWN]


def domains_of(args: Namespace) -> dict[str, LabelledImages]:
    limit = args.limit or args.imagenum_dom
    found = [labelled_images(args, name, args.split, limit) for name in args.dataset]
    return {images.spec.name: images for images in found}


def labelled_views(args: Namespace, images: LabelledImages) -> Iterator[View]:
    """The images of a domain; of several processes each gets every so manyth."""
    mine = range(rank(), len(images), world_size())
    loader = evaluation_batches(args, images, indices=mine, pyramid=Pyramid())
    progress = tqdm(loader, images.spec.name, leave=False, unit="image", disable=rank() > 0)
    for index, (image, labels, name) in zip(mine, progress, strict=True):
        yield View(index, name, centre(image, args.centre_crop), centre(labels, args.centre_crop))


def folder_views(args: Namespace, images: ImageFolder) -> Iterator[View]:
    """The images of a folder, shared in the same way; broken ones are told and left out."""
    mine = range(rank(), len(images), world_size())
    loader = picture_loader(images, indices=mine, pyramid=Pyramid(), workers=args.num_workers)
    for index, loaded in zip(mine, tqdm(loader, leave=False, unit="image", disable=rank() > 0), strict=True):
        if isinstance(loaded, str):
            tqdm.write(f"skipped: {loaded}", file=sys.stderr)
        else:
            yield View(index, images.stem(index), centre(loaded[0], args.centre_crop), None)


def centre(x: Tensor, size: list[int] | None) -> Tensor:
    """The middle of a map (...,H,W), no larger than ``size`` (width, height)."""
    if size is None:
        return x
    (height, width), (wide, high) = x.shape[-2:], size
    top, left = max(0, height - high) // 2, max(0, width - wide) // 2
    return x[..., top : top + high, left : left + wide]
