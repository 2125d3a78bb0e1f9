"""The images of the figures, one by one, as the network sees them."""

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from datasets.images import ImageFolder, LabelledImages
from datasets.labels import STANDARD, ClassSet
from datasets.transforms import Pyramid
from engine.evaluating.image_folder import read_images
from engine.evaluating.scoring import load_images
from engine.options.evaluation_options import EvaluationOptions
from utils.processes import rank, world_size

PUBLISHED_CLASSES = ("building", "vegetation", "sky", "car", "sidewalk", "pole")


class View(NamedTuple):
    """An image of a domain or folder."""

    index: int
    name: str
    image: Tensor  # 3,H,W uint8
    labels: Tensor | None  # H,W uint8; None for images without labels


def shown_classes(classes: ClassSet, options: EvaluationOptions) -> list[int]:
    """The ids of the published classes; all ids with ``--all_class`` or if the classes are the user's own."""
    everything = options.figures.all_classes or classes.names != STANDARD.names
    return [k for k, name in enumerate(classes.names) if everything or name in PUBLISHED_CLASSES]


def domain_views(images: LabelledImages, options: EvaluationOptions) -> Iterator[View]:
    """This process's images of a domain."""
    mine = range(rank(), len(images), world_size())
    loaded = load_images(images, options.scoring, indices=mine, workers=options.machine.workers)
    for index, (image, labels, name) in zip(mine, loaded, strict=True):
        yield View(index, name, centre(image, options), centre(labels, options))


def folder_views(images: ImageFolder, options: EvaluationOptions) -> Iterator[View]:
    """This process's images of a folder."""
    mine = range(rank(), len(images), world_size())
    for index, image in read_images(images, mine, Pyramid(), workers=options.machine.workers):
        yield View(index, images.stem(index), centre(image, options), None)


def centre(x: Tensor, options: EvaluationOptions) -> Tensor:
    """The centre of a map (...,H,W), no larger than ``--centre_crop``."""
    (height, width), (wide, high) = x.shape[-2:], options.figures.centre_crop or reversed(x.shape[-2:])
    top, left = max(0, height - high) // 2, max(0, width - wide) // 2
    return x[..., top : top + high, left : left + wide]
