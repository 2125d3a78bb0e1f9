"""Loaders for training and evaluation.

Everything random in a training batch is a function of (seed, iteration, rank, domain, slot).  The request travels to
the workers, so they hold no state and any iteration can be rebuilt.  One sample is drawn by ``Domains.draw``:
request (requests.py) -> image and label (decoding.py) -> augmentation (transforms.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datasets.decoding import read_pair
from datasets.images import ImageFolder, LabelledImages
from datasets.registry import DatasetSpec, Sample
from datasets.sampling.class_tiles import ClassTiles, Place
from datasets.sampling.requests import REPLACEMENT, SAMPLE, IterationSampler, Request, stream
from datasets.sampling.worker_loader import Loader, one_by_one
from datasets.transforms import HARD, Augmentation, Pyramid, blur, evaluation_geometry, jitter, normalise, to_tensor
from utils.errors import UsageError
from utils.seeds import seed_of

ATTEMPTS = 1000  # to draw a sample whose files can be read

Source = tuple[DatasetSpec, Sequence[Sample]]


class Batch(NamedTuple):
    """The samples of one iteration, by domain, or pooled samples of some domains."""

    images: Tensor  # D,N,3,H,W uint8; float and normalised when ready; N,3,H,W when pooled
    labels: Tensor  # D,N,H,W uint8; int64 when ready; N,H,W when pooled
    meta_test: Tensor  # D bool, on the CPU: the domains that are meta-test in this iteration
    replaced: Sequence[tuple[str, str]] = ()  # unusable images, each with its error message
    whole: Tensor | None = None  # M,H,W: in a part of a pooled batch, all labels of that batch

    def pool(self, domains: Tensor | list[bool] | slice = slice(None)) -> "Batch":
        """The chosen domains (mask or slice) as one flat batch; a view if they are neighbours.

        The domains are selected by numbers, because a mask would make the host wait for the device.
        """
        chosen = torch.arange(len(self.images))[domains].tolist()
        first, count = chosen[0], len(chosen)
        if chosen == list(range(first, first + count)):
            images, labels = (pixels[first : first + count].flatten(0, 1) for pixels in (self.images, self.labels))
        else:
            images, labels = (torch.cat([pixels[i] for i in chosen]) for pixels in (self.images, self.labels))
        return Batch(images, labels, self.meta_test[domains], self.replaced)

    def parts(self, count: int) -> "list[Batch]":
        """A pooled batch in ``count`` parts: part k has the images k, k + count, ...

        Every domain is in each part if ``count`` divides its number of images.
        """
        if count == 1:
            return [self]
        return [
            self._replace(images=self.images[k::count], labels=self.labels[k::count], whole=self.labels)
            for k in range(count)
        ]

    def ready(self, device: torch.device | str, *, image_in: bool = False) -> "Batch":
        """The batch on a device, images normalised (see ``normalise``), labels int64.

        ``meta_test`` stays on the CPU, so that ``pool`` need not wait for the device.
        """
        images = normalise(self.images.to(device, non_blocking=True), image_in=image_in)
        labels = self.labels.to(device, non_blocking=True).long()
        return Batch(images, labels, self.meta_test, self.replaced)


@dataclass(frozen=True)
class ClassUniform:
    """A share of the samples is drawn by class: a class, then a tile that shows it, so that rare classes come often."""

    tiles: Sequence[ClassTiles]  # one table per domain; a single one for joined domains
    share: float
    stop: int  # the first iteration without such samples


@dataclass(frozen=True)
class Domains(Dataset):
    """Labelled images of several domains, drawn by request; a domain may stand in the list more than once.

    If they are ``joined``, they are one domain, in which large data sets are drawn more often.
    """

    sources: Sequence[Source]
    augmentation: Augmentation
    seed: int
    rank: int = 0
    uniform: ClassUniform | None = None
    joined: bool = False
    extra: Sequence[Source] = ()  # numbered after the others, drawn for their classes only
    copies: Mapping[Path, Path] = field(default_factory=dict)  # image -> its packed copy
    skip_bad: int = 0  # at most this number of unusable images is replaced by others

    @property
    def pools(self) -> list[Sequence[Source]]:
        """The sources of each domain."""
        return [self.sources] if self.joined else [[source] for source in self.sources]

    def __getitem__(self, request: Request) -> tuple[Tensor, Tensor]:
        """A sample drawn with replacement and augmented: image 3,H,W and label H,W, both uint8."""
        image, label, _ = self.draw(request)
        return image, label

    def draw(self, request: Request) -> tuple[Tensor, Tensor, dict[str, str]]:
        """The same sample, and the unusable images that were drawn before it, each with its error message.

        Every attempt has an own random stream, so a replacement is a function of the request too.  UsageError if
        more than ``skip_bad`` images are unusable.
        """
        bad: dict[str, str] = {}
        for attempt in range(ATTEMPTS):
            purpose, more = (REPLACEMENT, [attempt]) if attempt else (SAMPLE, [])
            rng = stream(purpose, self.seed, request.iteration, self.rank, request.domain, request.slot, *more)
            index, place = self.choose(request, rng)
            spec, sample = self.find(request.domain, index)
            name = f"{spec.name} {sample.name}"
            if name in bad:
                continue
            try:
                image, label = read_pair(spec, sample, self.copies)
            except UsageError as error:
                bad[name] = str(error)
                if len(bad) > self.skip_bad:
                    raise UsageError(too_many(str(error), self.skip_bad)) from error
                continue
            image, label = self.augmentation(image, label, rng, request.hard, place=place)
            return to_tensor(image), torch.from_numpy(label.copy()), bad
        raise UsageError(f"{next(iter(bad.values()))}; and no other image of the domain could be read in its place")

    def choose(self, request: Request, rng: np.random.Generator) -> tuple[int, Place | None]:
        """The index of an image; and, for a sample drawn by class, the place that its crop must show."""
        uniform = self.uniform
        if uniform and request.iteration < uniform.stop and rng.random() < uniform.share:
            return uniform.tiles[request.domain].draw(rng)
        return int(rng.integers(sum(len(samples) for _, samples in self.pools[request.domain]))), None

    def find(self, domain: int, index: int) -> tuple[DatasetSpec, Sample]:
        """The image of a domain with this index, and its data set."""
        for spec, samples in (*self.pools[domain], *self.extra):
            if index < len(samples):
                return spec, samples[index]
            index -= len(samples)
        raise IndexError(index)

    def __getitems__(self, requests: Sequence[Request]) -> Batch:
        """The batch of one iteration; torch's loader calls this with what the sampler yields."""
        images, labels, bad = zip(*map(self.draw, requests), strict=True)
        images, labels = (torch.stack(pixels).unflatten(0, (len(self.pools), -1)) for pixels in (images, labels))
        roles = [request.meta_test for request in requests if request.slot == 0]
        replaced = tuple(entry for of_sample in bad for entry in of_sample.items())
        return Batch(images, labels, torch.tensor(roles), replaced)


def too_many(error: str, allowed: int) -> str:
    """The message for an unusable image that comes after ``allowed`` other ones."""
    return f"{error}; to replace more than {allowed} bad images by others: --skip_bad N"


def _as_is(batch: Batch) -> Batch:
    return batch


def train_loader(
    domains: Domains,
    *,
    batch_size: int,
    start: int,
    stop: int,
    meta: bool = False,
    meta_aug: str = "none",
    workers: int = 0,
    pin_memory: bool = False,
) -> Loader:
    """The batches of the iterations from ``start`` to ``stop``, each with ``batch_size`` samples of every domain.

    Joined domains are one domain.
    """
    count, side = len(domains.pools), domains.augmentation.crop_size
    sampler = IterationSampler(count, batch_size, start, stop, domains.seed, meta, meta_aug)
    settings = {"num_workers": workers, "collate_fn": _as_is, "pin_memory": pin_memory}
    return Loader(domains, batch_sampler=sampler, item_bytes=4 * side**2 * batch_size * count, **settings)


def eval_loader(
    images: LabelledImages,
    *,
    workers: int = 0,
    crop: int = 0,
    mapillary_pad: str = "ignore",
    pyramid: Pyramid | None = None,
    indices: Sequence[int] | None = None,
    device: str = "cpu",
) -> Loader:
    """Image by image: (3,H,W uint8, H,W uint8, name), then the image at the scales of ``pyramid``.

    All images in order, or those at ``indices``.  If ``crop`` is above 0, they are scored on a square crop of that
    side.  ``device`` is the type of that to which the tensors are sent.
    """
    scored = partial(_scored, images, crop, mapillary_pad, pyramid or Pyramid())
    indices = range(len(images)) if indices is None else indices
    width, height = (crop, crop) if crop or not len(indices) else images.size(indices[0])
    return one_by_one(scored, indices, workers, device, item_bytes=4 * width * height)


def _scored(images: LabelledImages, crop: int, pad_label: str, pyramid: Pyramid, index: int) -> tuple:
    image, label, name = images[index]
    if crop:
        image, label = evaluation_geometry(image, label, crop, pad_label=pad_label)
    return to_tensor(image), torch.from_numpy(label.copy()), name, *pyramid(image)


def picture_loader(
    images: ImageFolder, *, indices: Sequence[int], pyramid: Pyramid, workers: int = 0, device: str = "cpu"
) -> DataLoader:
    """For each of ``indices`` the image (3,H,W uint8), then its further sizes; or the error message of a broken one."""
    return one_by_one(partial(_picture, images, pyramid), indices, workers, device)


def _picture(images: ImageFolder, pyramid: Pyramid, index: int) -> str | list[Tensor]:
    try:
        image = images[index]
    except UsageError as error:
        return str(error)
    return [to_tensor(image), *pyramid(image)]


def view_pair_loader(
    images: LabelledImages,
    geometry: Augmentation,
    *,
    seeds: Sequence[int],
    indices: Sequence[int],
    workers: int = 0,
    device: str = "cpu",
) -> DataLoader:
    """For each of ``indices`` an image, cropped by ``geometry``, in two views: 2,3,H,W uint8.

    The first view is strongly jittered and blurred, the second is not.  Everything random is a function of ``seeds``
    and the index.
    """
    return one_by_one(partial(_view_pair, images, geometry, seeds), indices, workers, device)


def _view_pair(images: LabelledImages, geometry: Augmentation, seeds: Sequence[int], index: int) -> Tensor:
    image, label, _ = images[index]
    rng = np.random.default_rng(seed_of(*seeds, index))
    plain, _ = geometry(image, label, rng)
    return torch.stack([to_tensor(blur(jitter(plain, rng, HARD), rng)), to_tensor(plain)])
