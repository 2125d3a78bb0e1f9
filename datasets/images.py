"""Images from disk: labelled ones of a data set, or whatever lies in a folder."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from datasets import packed
from datasets.registry import DatasetSpec, Sample
from utils.errors import UsageError, first_line

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def read_image(path: Path, *, upright: bool = False) -> Image.Image:
    """An image file as RGB; ``upright`` turns it as its camera says (EXIF), which labelled images never are."""
    try:
        with Image.open(path) as image:
            image = ImageOps.exif_transpose(image) if upright else image
            image.load()
            return image if image.mode == "RGB" else eight_bit(image).convert("RGB")  # which would copy it
    except ScaleError as error:
        raise UsageError(f"{path}: {error}: save the image with 8 bits per channel") from error
    except Exception as error:  # Pillow raises many kinds for a broken or enormous file
        raise unreadable(path, error) from error


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of an image file, of which only the head is read."""
    try:
        with Image.open(path) as image:
            return image.size
    except Exception as error:  # as above
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> UsageError:
    return UsageError(f"{path}: unreadable image ({first_line(error)}): fetch the file again or take it away")


class ScaleError(ValueError):
    """An image does not say which of its numbers is white."""


def eight_bit(image: Image.Image) -> Image.Image:
    """An image of 16 bits per pixel by its high bytes, where Pillow would make almost everything white.

    ScaleError for floats, and for integers that need more or fewer bits (12 of 16 would be nearly black).
    """
    if image.mode == "F":
        raise ScaleError("holds floats (mode F), whose white is unknown")
    if not image.mode.startswith("I"):
        return image
    numbers = np.asarray(image)
    if not ((numbers.min() >= 0 and 4095 < numbers.max() <= 65535) or not numbers.any()):
        raise ScaleError(f"holds numbers from {numbers.min()} to {numbers.max()}, whose white is unknown")
    return Image.fromarray((numbers >> 8).astype(np.uint8))


def read_pair(
    spec: DatasetSpec, sample: Sample, copies: Mapping[Path, Path] | None = None
) -> tuple[Image.Image, np.ndarray]:
    """An image (RGB) and its train ids (H,W uint8), which are equal in size; from its packed copy, if it has one."""
    if copies and (copy := copies.get(sample.image)):
        return packed.read(copy)
    image, label = read_image(sample.image), spec.decode(sample.label)
    check_sizes(sample, image.size, label.shape)
    return image, label


def check_sizes(sample: Sample, size: tuple[int, int], shape: tuple[int, ...]) -> None:
    """UsageError unless an image (width, height) and its label (rows, columns) are equal in size."""
    if shape != size[::-1]:
        (width, height), (rows, columns) = size, shape
        raise UsageError(
            f"{sample.image}: is {width}x{height} but its label {sample.label} is {columns}x{rows}: take this pair "
            "away or fetch both again"
        )


class LabelledImages:
    """The images of one split with their labels, as stored; ``limit`` > 0 keeps that many, evenly spaced.

    ``found`` are all of them and how they were found.
    """

    def __init__(self, spec: DatasetSpec, root: Path | str, split: str, *, limit: int = 0) -> None:
        self.found = spec.pairs(root, split)
        samples = list(self.found)
        if 0 < limit < len(samples):
            samples = [samples[index * len(samples) // limit] for index in range(limit)]
        self.spec, self.split, self.samples = spec, split, samples
        self.copies = packed.find(root, spec, samples)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Image.Image, np.ndarray, str]:
        sample = self.samples[index]
        return *read_pair(self.spec, sample, self.copies), sample.name

    def size(self, index: int) -> tuple[int, int]:
        """Width and height of an image as stored."""
        return image_size(self.samples[index].image)


class ImageFolder:
    """The images of a folder and its subfolders, sorted, or one image file; ``skipped`` lists the other files.

    What lies in the folders ``apart_from`` is passed over, and ``limit`` > 0 keeps the first images.
    """

    def __init__(self, path: Path | str, *, apart_from: Sequence[Path] = (), limit: int = 0) -> None:
        path = Path(path).expanduser()
        self.root = path if path.is_dir() else path.parent
        apart = [folder.resolve() for folder in apart_from]
        files = sorted(file for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())
        files = [file for file in files if not any(file.resolve().is_relative_to(folder) for folder in apart)]
        images = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
        self.paths = images[: limit or None]
        self._images = set(images)
        self._stems = Counter(image.with_suffix("") for image in images)
        self.skipped = [file for file in files if file.suffix.lower() not in IMAGE_SUFFIXES]
        if not self.paths:
            raise UsageError(f"{path}: no image here: name a folder with images ({', '.join(sorted(IMAGE_SUFFIXES))})")

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Image.Image, str]:
        return read_image(self.paths[index], upright=True), self.name(index)

    def name(self, index: int) -> str:
        """The path of an image below the folder."""
        return self.paths[index].relative_to(self.root).as_posix()

    def stem(self, index: int) -> str:
        """The same without its suffix, if that names no other image too: a.jpg is a, but beside a.png it is a.jpg."""
        path = self.paths[index]
        stem = path.with_suffix("")
        own = self._stems[stem] == 1 and stem not in self._images
        return (stem if own else path).relative_to(self.root).as_posix()
