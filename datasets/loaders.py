"""Batches of several domains, in which everything random is a function of (seed, iteration, rank, domain, slot).

What is to be loaded travels with each request, so that workers hold no state and any iteration can be rebuilt.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datasets.folder import ImageFolder, LabelledImages, read_pair
from datasets.loading import Loader, one_by_one
from datasets.pyramid import Pyramid
from datasets.specs import DatasetSpec, Sample
from datasets.tiles import ClassTiles, Place
from datasets.transforms import Augmentation, evaluation_geometry, normalise, to_tensor
from utils.errors import UsageError

_ROLES, _SAMPLE = range(2)  # purposes of random streams


class Batch(NamedTuple):
    """The samples of one iteration, by domain, or those of some domains, pooled."""

    images: Tensor  # D,N,3,H,W uint8; float and normalised when ready; N,3,H,W when pooled
    labels: Tensor  # D,N,H,W uint8; int64 when ready; N,H,W when pooled
    meta_test: Tensor  # D bool, on the CPU: the domains that play meta-test in this iteration

    def pool(self, domains: Tensor | list[bool] | slice = slice(None)) -> "Batch":
        """The chosen domains (mask or slice) as one flat batch."""
        return Batch(self.images[domains].flatten(0, 1), self.labels[domains].flatten(0, 1), self.meta_test[domains])

    def ready(self, device: torch.device | str, *, image_in: bool = False) -> "Batch":
        """The batch on a device, images normalised (see ``normalise``), labels as the losses want them.

        ``meta_test`` stays where it is: choosing domains by it then needs no wait for the device.
        """
        images = normalise(self.images.to(device, non_blocking=True), image_in=image_in)
        return Batch(images, self.labels.to(device, non_blocking=True).long(), self.meta_test)


class Request(NamedTuple):
    """One sample of one iteration: all that a worker needs to draw it."""

    iteration: int  # negative ones are free for batches before the training
    domain: int  # position in the list of domains
    slot: int  # position within the domain's batch
    hard: bool  # strong colour jitter
    meta_test: bool  # role of the domain in this iteration


def _stream(purpose: int, *numbers: int) -> np.random.Generator:
    """A random stream of its own for each tuple of integers of either sign."""
    return np.random.default_rng([purpose, *(2 * n if n >= 0 else -2 * n - 1 for n in numbers)])


def meta_split(num_domains: int, seed: int, iteration: int) -> list[bool]:
    """Which domains play meta-test: a random permutation of them, cut at U{1..D-1}, as in the published training."""
    if num_domains < 2:
        raise UsageError("--mldg needs two domains: name two, e.g. `--dataset gtav gtav`, or drop --mldg")
    rng = _stream(_ROLES, seed, iteration)
    cut = rng.integers(1, num_domains)
    return (rng.permutation(num_domains) >= cut).tolist()


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
    copies: Mapping[Path, Path] = field(default_factory=dict)  # image -> its packed copy

    @property
    def pools(self) -> list[Sequence[tuple[DatasetSpec, Sequence[Sample]]]]:
        """The sources that are drawn from together, domain by domain."""
        return [self.sources] if self.joined else [[source] for source in self.sources]

    def __getitem__(self, request: Request) -> tuple[Tensor, Tensor]:
        """A sample drawn with replacement and augmented: image 3,H,W and label H,W, both uint8."""
        rng = _stream(_SAMPLE, self.seed, request.iteration, self.rank, request.domain, request.slot)
        index, place = self.choose(request, rng)
        image, label = read_pair(*self.find(request.domain, index), self.copies)
        image, label = self.augmentation(image, label, rng, request.hard, place=place)
        return to_tensor(image), torch.from_numpy(label.copy())

    def choose(self, request: Request, rng: np.random.Generator) -> tuple[int, Place | None]:
        """The index of an image, and the place that its crop must show if it is drawn for a class."""
        uniform = self.uniform
        if uniform and request.iteration < uniform.stop and rng.random() < uniform.share:
            return uniform.tiles[request.domain].draw(rng)
        return int(rng.integers(sum(len(samples) for _, samples in self.pools[request.domain]))), None

    def find(self, domain: int, index: int) -> tuple[DatasetSpec, Sample]:
        """The image of a domain with that index, and its data set."""
        for spec, samples in self.pools[domain]:
            if index < len(samples):
                return spec, samples[index]
            index -= len(samples)
        raise IndexError(index)

    def __getitems__(self, requests: Sequence[Request]) -> Batch:
        """The batch of one iteration; the data loader calls this with what the sampler yields."""
        images, labels = map(torch.stack, zip(*(self[request] for request in requests), strict=True))
        count = len(self.pools)
        roles = [request.meta_test for request in requests if request.slot == 0]
        return Batch(images.unflatten(0, (count, -1)), labels.unflatten(0, (count, -1)), torch.tensor(roles))


@dataclass(frozen=True)
class IterationSampler:
    """The requests of the iterations from ``start`` to ``stop``: all slots of the first domain, then of the next."""

    num_domains: int
    batch_size: int  # per domain
    start: int
    stop: int
    seed: int
    meta: bool = False  # whether domains play meta-train and meta-test
    meta_aug: str | None = None  # who is jittered strongly: 'role' (meta-test), 'first_domain' (always) or nobody

    def __post_init__(self) -> None:
        if self.meta_aug not in ("role", "first_domain", None):
            raise UsageError(f"--meta_aug {self.meta_aug}: choose from role, first_domain")
        self.requests(self.start)  # so that too few domains are told now, not by a worker

    def requests(self, iteration: int) -> list[Request]:
        """The D*N requests of one iteration."""
        nobody = [False] * self.num_domains
        roles = meta_split(self.num_domains, self.seed, iteration) if self.meta else nobody
        hard = {"role": roles, "first_domain": [True, *nobody[1:]], None: nobody}[self.meta_aug]
        return [
            Request(iteration, domain, slot, hard[domain], roles[domain])
            for domain in range(self.num_domains)
            for slot in range(self.batch_size)
        ]

    def __len__(self) -> int:
        return max(0, self.stop - self.start)

    def __iter__(self) -> Iterator[list[Request]]:
        return map(self.requests, range(self.start, self.stop))


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
    eval_crop: int | None = None,
    mapillary_pad: str = "ignore",
    pyramid: Pyramid | None = None,
    indices: Sequence[int] | None = None,
) -> DataLoader:
    """Image by image: (3,H,W uint8, H,W uint8, name), then the image at the scales of ``pyramid``.

    All images in order, or those with ``indices``.  ``eval_crop`` overrides the square crop of the data set; 0 scores
    whole images.
    """
    crop = eval_crop if eval_crop is not None else images.spec.eval_crop or 0
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
