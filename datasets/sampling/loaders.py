"""Batches of several domains, in which everything random is a function of (seed, iteration, rank, domain, slot).

What is to be loaded travels with each request, so that workers hold no state and any iteration can be rebuilt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datasets.images import ImageFolder, LabelledImages, read_pair
from datasets.pyramid import Pyramid
from datasets.registry import DatasetSpec, Sample
from datasets.sampling.class_tiles import ClassTiles, Place
from datasets.sampling.requests import REPLACEMENT, SAMPLE, IterationSampler, Request, stream
from datasets.sampling.worker_loader import Loader, one_by_one
from datasets.transforms import Augmentation, evaluation_geometry, normalise, to_tensor
from utils.errors import UsageError

DRAWS = 1000  # after so many without a file that can be read, a sample is given up


class Batch(NamedTuple):
    """The samples of one iteration, by domain, or those of some domains, pooled."""

    images: Tensor  # D,N,3,H,W uint8; float and normalised when ready; N,3,H,W when pooled
    labels: Tensor  # D,N,H,W uint8; int64 when ready; N,H,W when pooled
    meta_test: Tensor  # D bool, on the CPU: the domains that play meta-test in this iteration
    replaced: Sequence[tuple[str, str]] = ()  # images that could not be used, and what is wrong with each
    whole: Tensor | None = None  # M,H,W: of a part of a pooled batch, all labels of that batch

    def pool(self, domains: Tensor | list[bool] | slice = slice(None)) -> "Batch":
        """The chosen domains (mask or slice) as one flat batch: a view where they are neighbours.

        Numbers, not the mask, reach the device, which need not be waited for then.
        """
        chosen = torch.arange(len(self.images))[domains].tolist()
        first, count = chosen[0], len(chosen)
        neighbours = chosen == list(range(first, first + count))
        images, labels = (
            pixels[first : first + count].flatten(0, 1) if neighbours else torch.cat([pixels[i] for i in chosen])
            for pixels in (self.images, self.labels)
        )
        return Batch(images, labels, self.meta_test[domains], self.replaced)

    def parts(self, count: int) -> "list[Batch]":
        """A pooled batch in ``count`` equal parts, which take turns in picking images: every domain is in each, where
        its number of images can be divided so."""
        if count == 1:
            return [self]
        return [
            self._replace(images=self.images[k::count], labels=self.labels[k::count], whole=self.labels)
            for k in range(count)
        ]

    def ready(self, device: torch.device | str, *, image_in: bool = False) -> "Batch":
        """The batch on a device, images normalised (see ``normalise``), labels as the losses want them.

        ``meta_test`` stays where it is: choosing domains by it then needs no wait for the device (see ``pool``).
        """
        images = normalise(self.images.to(device, non_blocking=True), image_in=image_in)
        labels = self.labels.to(device, non_blocking=True).long()
        return Batch(images, labels, self.meta_test, self.replaced)


@dataclass(frozen=True)
class ClassUniform:
    """How a share of the samples is drawn: a class, then a tile that shows it, so that rare classes are seen often."""

    tiles: Sequence[ClassTiles]  # of each domain; of joined ones a single table
    share: float
    stop: int  # the first iteration without such samples


@dataclass(frozen=True)
class Domains(Dataset):
    """Labelled images of several domains, drawn by request; a domain may stand in the list more than once.

    If they are ``joined``, all images are drawn from as those of a single domain, in which large data sets weigh more.
    """

    sources: Sequence[tuple[DatasetSpec, Sequence[Sample]]]
    augmentation: Augmentation
    seed: int
    rank: int = 0
    uniform: ClassUniform | None = None
    joined: bool = False
    extra: Sequence[tuple[DatasetSpec, Sequence[Sample]]] = ()  # behind the others, drawn for their classes only
    copies: Mapping[Path, Path] = field(default_factory=dict)  # image -> its packed copy
    skip_bad: int = 0  # images that cannot be used are replaced by others, so many of them at most

    @property
    def pools(self) -> list[Sequence[tuple[DatasetSpec, Sequence[Sample]]]]:
        """The sources that are drawn from together, domain by domain."""
        return [self.sources] if self.joined else [[source] for source in self.sources]

    def __getitem__(self, request: Request) -> tuple[Tensor, Tensor]:
        """A sample drawn with replacement and augmented: image 3,H,W and label H,W, both uint8."""
        image, label, _ = self.draw(request)
        return image, label

    def draw(self, request: Request) -> tuple[Tensor, Tensor, dict[str, str]]:
        """The same, and the images drawn before it that could not be used, with what is wrong with each.

        Every attempt has a random stream of its own, so that what takes the place of an image is a function of the
        request too.  UsageError beyond ``skip_bad`` such images.
        """
        bad: dict[str, str] = {}
        for attempt in range(DRAWS):
            purpose, further = (REPLACEMENT, [attempt]) if attempt else (SAMPLE, [])
            rng = stream(purpose, self.seed, request.iteration, self.rank, request.domain, request.slot, *further)
            index, place = self.choose(request, rng)
            row, sample = self.find(request.domain, index)
            name = f"{row.name} {sample.name}"
            if name in bad:
                continue
            try:
                image, label = read_pair(row, sample, self.copies)
            except UsageError as error:
                bad[name] = str(error)
                if len(bad) > self.skip_bad:
                    raise UsageError(too_many(str(error), self.skip_bad)) from error
                continue
            image, label = self.augmentation(image, label, rng, request.hard, place=place)
            return to_tensor(image), torch.from_numpy(label.copy()), bad
        raise UsageError(f"{next(iter(bad.values()))}; and no image was found that could take its place")

    def choose(self, request: Request, rng: np.random.Generator) -> tuple[int, Place | None]:
        """The index of an image, and the place that its crop must show if it is drawn for a class."""
        uniform = self.uniform
        if uniform and request.iteration < uniform.stop and rng.random() < uniform.share:
            return uniform.tiles[request.domain].draw(rng)
        return int(rng.integers(sum(len(samples) for _, samples in self.pools[request.domain]))), None

    def find(self, domain: int, index: int) -> tuple[DatasetSpec, Sample]:
        """The image of a domain with that index, and its data set."""
        for spec, samples in (*self.pools[domain], *self.extra):
            if index < len(samples):
                return spec, samples[index]
            index -= len(samples)
        raise IndexError(index)

    def __getitems__(self, requests: Sequence[Request]) -> Batch:
        """The batch of one iteration; the data loader calls this with what the sampler yields."""
        drawn = [self.draw(request) for request in requests]
        images, labels, bad = zip(*drawn, strict=True)
        images, labels = (torch.stack(pixels).unflatten(0, (len(self.pools), -1)) for pixels in (images, labels))
        roles = [request.meta_test for request in requests if request.slot == 0]
        return Batch(images, labels, torch.tensor(roles), tuple(chain.from_iterable(each.items() for each in bad)))


def too_many(fault: str, allowed: int) -> str:
    """What is told of a bad file, with this ``fault``, that comes after the ``allowed`` ones."""
    if not allowed:
        return f"{fault}; or let other images take the place of up to N bad ones: --skip_bad N"
    return f"{fault}; {allowed} bad files were found before it, as many as --skip_bad {allowed} replaces"


def _as_is(batch: Batch) -> Batch:
    return batch


def train_loader(
    domains: Domains,
    *,
    batch_size: int,
    start: int,
    stop: int,
    meta: bool = False,
    meta_aug: str | None = None,
    workers: int = 0,
    pin_memory: bool = False,
) -> DataLoader:
    """The batches of the iterations from ``start`` to ``stop``, ``batch_size`` samples of every domain in each, or in
    all if the domains are joined."""
    sampler = IterationSampler(len(domains.pools), batch_size, start, stop, domains.seed, meta, meta_aug)
    return Loader(domains, batch_sampler=sampler, num_workers=workers, collate_fn=_as_is, pin_memory=pin_memory)


@dataclass(frozen=True)
class _Evaluated(Dataset):
    """Labelled images as tensors, in the geometry in which they are scored."""

    images: LabelledImages
    crop: int  # 0: whole images
    pad_label: str
    pyramid: Pyramid

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple:
        image, label, name = self.images[index]
        if self.crop:
            image, label = evaluation_geometry(image, label, self.crop, pad_label=self.pad_label)
        return to_tensor(image), torch.from_numpy(label.copy()), name, *self.pyramid(image)


def eval_loader(
    images: LabelledImages,
    *,
    workers: int = 0,
    crop: int = 0,
    mapillary_pad: str = "ignore",
    pyramid: Pyramid | None = None,
    indices: Sequence[int] | None = None,
) -> DataLoader:
    """Image by image: (3,H,W uint8, H,W uint8, name), then the image at the scales of ``pyramid``.

    All images in order, or those with ``indices``.  With ``crop`` above 0 they are scored on a square crop of
    that side.
    """
    return one_by_one(_Evaluated(images, crop, mapillary_pad, pyramid or Pyramid()), indices, workers)


@dataclass(frozen=True)
class _Pictures(Dataset):
    """Images without labels as tensors; a broken one is no image but what is wrong with it."""

    images: ImageFolder
    pyramid: Pyramid

    def __getitem__(self, index: int) -> str | list[Tensor]:
        try:
            image, _ = self.images[index]
        except UsageError as error:
            return str(error)
        return [to_tensor(image), *self.pyramid(image)]


def picture_loader(images: ImageFolder, *, indices: Sequence[int], pyramid: Pyramid, workers: int = 0) -> DataLoader:
    """For each of ``indices`` the image (3,H,W uint8), then its further sizes; or, for a broken one, a message."""
    return one_by_one(_Pictures(images, pyramid), indices, workers)
