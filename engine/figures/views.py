"""The images of the figures, one by one, as the network sees them."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from datasets.images import LabelledImages
from datasets.labels import ClassSet
from datasets.transforms import Pyramid
from engine.evaluating.image_folder import image_folder, read_images
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


class ViewSource:
    """Reads the images that the options name; the processes share them.

    ``shown`` are the ids of the published classes; all ids with ``--all_class`` or if no class has a published name.
    """

    def __init__(self, options: EvaluationOptions, classes: ClassSet) -> None:
        self.options, self.figures, self.classes = options, options.figures, classes
        self.limit = options.subject.limit or self.figures.images_per_domain
        every = self.figures.all_classes or not set(PUBLISHED_CLASSES) & set(classes.names)
        self.shown = [k for k, name in enumerate(classes.names) if every or name in PUBLISHED_CLASSES]

    def domains(self) -> dict[str, LabelledImages]:
        """The images of each domain, by its name in results."""
        subject = self.options.subject
        names = dict.fromkeys(subject.datasets)
        listed = [self.options.data.images(name, subject.split, self.limit) for name in names]
        return {images.spec.name: images for images in listed}

    def labelled(self, images: LabelledImages) -> Iterator[View]:
        """This process's images of a domain."""
        mine = range(rank(), len(images), world_size())
        loaded = load_images(images, self.options.scoring, indices=mine, workers=self.options.machine.workers)
        for index, (image, labels, name) in zip(mine, loaded, strict=True):
            yield View(index, name, self.centre(image), self.centre(labels))

    def folders(self, out: Path, kinds: tuple[str, ...]) -> Iterator[tuple[Path, Iterator[View]]]:
        """The folder of results, in ``out``, and the images, for each domain or for a folder of images."""
        path, split = self.options.subject.images, self.options.subject.split
        if path is None:
            for name, images in self.domains().items():
                yield out / f"{name}_{split}", self.labelled(images)
            return
        images, folder = image_folder(path, out, kinds, limit=self.limit)
        mine = range(rank(), len(images), world_size())
        loaded = read_images(images, mine, Pyramid(), workers=self.options.machine.workers)
        yield folder, (View(index, images.stem(index), self.centre(image), None) for index, image in loaded)

    def centre(self, x: Tensor) -> Tensor:
        """The centre of a map (...,H,W), no larger than ``--centre_crop``."""
        if self.figures.centre_crop is None:
            return x
        (height, width), (wide, high) = x.shape[-2:], self.figures.centre_crop
        top, left = max(0, height - high) // 2, max(0, width - wide) // 2
        return x[..., top : top + high, left : left + wide]
