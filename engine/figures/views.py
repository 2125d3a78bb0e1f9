"""The images of the figures, one by one, as the network sees them."""

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor
from tqdm import tqdm

from datasets.images import ImageFolder, LabelledImages
from datasets.labels import ClassSet
from datasets.options import DataOptions
from datasets.pyramid import Pyramid
from datasets.sampling.loaders import picture_loader
from engine.build import evaluation_batches
from engine.options.evaluation_options import EvaluationOptions
from utils.log import log
from utils.processes import rank, world_size

PUBLISHED_CLASSES = ("building", "vegetation", "sky", "car", "sidewalk", "pole")


class View(NamedTuple):
    """An image of a domain or folder."""

    index: int
    name: str
    image: Tensor  # 3,H,W uint8
    labels: Tensor | None  # H,W uint8; None for images without labels


class ViewSource:
    """Reads the images that the options name; the processes share them."""

    def __init__(self, options: EvaluationOptions, data: DataOptions) -> None:
        self.subject, self.figures, self.data = options.subject, options.figures, data
        self.scoring, self.workers = options.scoring, options.machine.workers
        self.limit = options.subject.limit or options.figures.images_per_domain

    def domains(self) -> dict[str, LabelledImages]:
        """The images of each domain, by its name in results."""
        names = dict.fromkeys(self.subject.datasets)
        listed = [self.data.images(name, self.subject.split, self.limit) for name in names]
        return {images.spec.name: images for images in listed}

    def labelled(self, images: LabelledImages) -> Iterator[View]:
        """This process's images of a domain."""
        mine = range(rank(), len(images), world_size())
        loader = evaluation_batches(images, self.scoring, indices=mine, pyramid=Pyramid(), workers=self.workers)
        progress = tqdm(loader, images.spec.name, leave=False, unit="image", disable=rank() > 0)
        for index, (image, labels, name) in zip(mine, progress, strict=True):
            yield View(index, name, self.centre(image), self.centre(labels))

    def unlabelled(self, images: ImageFolder) -> Iterator[View]:
        """This process's images of a folder; broken ones are reported and left out."""
        mine = range(rank(), len(images), world_size())
        loader = picture_loader(images, indices=mine, pyramid=Pyramid(), workers=self.workers)
        for index, loaded in zip(mine, tqdm(loader, leave=False, unit="image", disable=rank() > 0), strict=True):
            if isinstance(loaded, str):
                log.warning(f"skipped: {loaded}")
            else:
                yield View(index, images.stem(index), self.centre(loaded[0]), None)

    def centre(self, x: Tensor) -> Tensor:
        """The centre of a map (...,H,W), no larger than ``--centre_crop``."""
        if self.figures.centre_crop is None:
            return x
        (height, width), (wide, high) = x.shape[-2:], self.figures.centre_crop
        top, left = max(0, height - high) // 2, max(0, width - wide) // 2
        return x[..., top : top + high, left : left + wide]


def shown_classes(classes: ClassSet, *, all_classes: bool) -> list[int]:
    """The ids of the published classes; all ids with ``all_classes`` or if no class has a published name."""
    every = all_classes or not set(PUBLISHED_CLASSES) & set(classes.names)
    return [k for k, name in enumerate(classes.names) if every or name in PUBLISHED_CLASSES]
