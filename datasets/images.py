"""Images of a data set's split, or of any folder."""

import copy
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from datasets import packed
from datasets.corruptions import corrupted
from datasets.decoding import picture_size, read_image, read_pair
from datasets.disk.layouts import visible_files
from datasets.registry import DatasetSpec
from utils.errors import UsageError

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".webm", ".wmv"})
SUFFIXES = IMAGE_SUFFIXES, VIDEO_SUFFIXES


class LabelledImages:
    """The images of one split with their labels, as stored; ``limit`` > 0 keeps that many, evenly spaced.

    ``found`` holds all of them, and where they come from.
    """

    def __init__(self, spec: DatasetSpec, root: Path | str, split: str, *, limit: int = 0) -> None:
        self.found = spec.pairs(root, split)
        samples = list(self.found)
        if 0 < limit < len(samples):
            samples = [samples[index * len(samples) // limit] for index in range(limit)]
        self.spec, self.split, self.samples = spec, split, samples
        self.copies = packed.find(root, spec, samples)
        self.corruption = ""  # of all images, after they are read

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Image.Image, np.ndarray, str]:
        """Image (RGB), train ids (H,W uint8) and name."""
        sample = self.samples[index]
        image, label = read_pair(self.spec, sample, self.copies)
        if self.corruption:
            image = corrupted(image, self.corruption, sample.name)
        return image, label, sample.name

    def under(self, corruption: str) -> "LabelledImages":
        """The same images with this corruption, or with none ('')."""
        changed = copy.copy(self)
        changed.corruption = corruption
        return changed

    def size(self, index: int) -> tuple[int, int]:
        """Width and height of an image."""
        path = self.samples[index].image
        size = picture_size(path, upright=self.spec.upright)
        return size or read_image(path).size  # the latter raises the error of a broken file


class ImageFolder:
    """The visible images below a folder, sorted, or one image file; ``skipped`` lists other visible files.

    Links are followed.  The folders ``apart_from`` are passed over; ``limit`` > 0 keeps the first images.  ``videos``
    maps each video to its name, as ``stem`` gives it for images.  UsageError without images; with ``or_videos``,
    only if there are no videos either.
    """

    def __init__(
        self, path: Path | str, *, apart_from: Sequence[Path] = (), limit: int = 0, or_videos: bool = False
    ) -> None:
        path = Path(path).expanduser()
        self.root = path if path.is_dir() else path.parent
        apart = {folder.resolve() for folder in apart_from}
        files = sorted(visible_files(path)) if path.is_dir() else [path] * path.is_file()
        files = [file for file in files if apart.isdisjoint(Path(os.path.realpath(file)).parents)]
        images, videos = ([file for file in files if file.suffix.lower() in kind] for kind in SUFFIXES)
        self.paths, self._names = images[: limit or None], short_names(images, self.root)
        self.videos = dict(zip(videos, short_names(videos, self.root), strict=True))
        known = {*images, *videos}
        self.skipped = [file for file in files if file not in known]
        if not self.paths and not (or_videos and videos):
            kind = "image or video" if or_videos else "image"
            suffixes = ", ".join(sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES if or_videos else IMAGE_SUFFIXES))
            raise UsageError(f"{path}: no {kind} here: name a file, or a folder with some ({suffixes})")

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Image.Image:
        """An image as RGB, turned as its camera says."""
        return read_image(self.paths[index], upright=True)

    def stem(self, index: int) -> str:
        """The name without its suffix, if no other image shares that: a.jpg is a, but beside a.png it is a.jpg."""
        return self._names[index]


def short_names(files: Sequence[Path], root: Path) -> list[str]:
    """The name of each file below ``root``, without its suffix if no other of the files shares that."""
    names = Counter(name for file in files for name in (file, file.with_suffix("")))
    short = [file.with_suffix("") if names[file.with_suffix("")] == 1 else file for file in files]
    return [name.relative_to(root).as_posix() for name in short]
