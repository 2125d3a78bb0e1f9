"""One factor at a time: changes of the methods that ``benchmarks.generalise`` compares.

A variant patches classes for the life of a process, and every run has a process of its own.  What proved useful became
a flag; the others stay here, so that every row of docs/results.md can be repeated.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datasets.sampling.loaders import Batch
from datasets.sampling.requests import IterationSampler, Request
from engine import build
from methods.first_memory import write_first_memory
from methods.method import Method, by_stage
from methods.mldg import MLDG
from methods.pinmem import PinMem
from network.categorical_memory import CategoricalMemory, Reading
from network.deeplab import DeepLab
from utils.precision import at_least_single

VARIANTS: dict[str, Callable[[], None]] = {}


def variant(name: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def add(function: Callable[[], None]) -> Callable[[], None]:
        VARIANTS[name] = function
        return function

    return add


def after(owner: Any, name: str, change: Callable[[Any], Any]) -> None:
    """Let ``owner.name`` return what ``change`` makes of its result."""
    original = getattr(owner, name)
    setattr(owner, name, lambda *args, **kwargs: change(original(*args, **kwargs)))


def with_jitter(hard: bool) -> None:
    def jittered(requests: list[Request]) -> list[Request]:
        return [request._replace(hard=hard) for request in requests]

    after(IterationSampler, "requests", jittered)


@variant("strong jitter for none")
def _() -> None:
    with_jitter(False)


@variant("strong jitter for all")
def _() -> None:
    with_jitter(True)


@variant("gradients averaged")
def _() -> None:
    original = Method.apply

    def apply(self: Method, *gradients: list[Tensor]) -> None:
        original(self, *([grad / len(gradients) for grad in part] for part in gradients))

    Method.apply = apply


def meta_parts(split: Callable[[Batch], tuple[Batch, Batch]]) -> None:
    """Let MLDG and Pin the Memory take other images for meta-train and meta-test."""

    def mldg(self: MLDG, batch: Batch) -> dict[str, Tensor]:
        train, test = split(batch)
        inner, train_grads = self.accumulate(train, self.losses)
        ahead = self.look_ahead(train_grads)
        outer, test_grads = self.accumulate(test, lambda part: self.losses_at(ahead, part))
        self.apply(train_grads, test_grads)
        return by_stage(inner, outer)

    def pinmem(self: PinMem, batch: Batch) -> dict[str, Tensor]:
        train, test = split(batch)
        inner, train_grads = self.accumulate(train, self.read_and_write_losses)
        ahead = self.look_ahead(train_grads)
        items = self.write_at(ahead, train)
        outer, test_grads = self.accumulate(test, lambda part: self.reading_losses_at(ahead, items, part))
        self.apply(train_grads, test_grads)
        self.absorb(train)
        return by_stage(inner, outer)

    MLDG.step, PinMem.step = mldg, pinmem


def images_of(batch: Batch, chosen: slice) -> Batch:
    return batch._replace(images=batch.images[:, chosen].flatten(0, 1), labels=batch.labels[:, chosen].flatten(0, 1))


@variant("roles split over images")
def _() -> None:
    """Every other image of each domain is meta-test."""
    meta_parts(lambda batch: (images_of(batch, slice(0, None, 2)), images_of(batch, slice(1, None, 2))))


@variant("both passes over all images")
def _() -> None:
    meta_parts(lambda batch: (batch.pool(), batch.pool()))


@variant("meta-test weight .5")
def _() -> None:
    after(PinMem, "reading_losses_at", lambda terms: {name: term / 2 for name, term in terms.items()})


@variant("running statistics in meta-test")
def _() -> None:
    original = PinMem.reading_losses_at

    def reading_losses_at(self: PinMem, *args: Any) -> dict[str, Tensor]:
        norms = [module for module in self.net.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.eval()
        terms = original(self, *args)
        for norm in norms:
            norm.train()
        return terms

    PinMem.reading_losses_at = reading_losses_at


def change_network(change: Callable[[DeepLab], DeepLab]) -> None:
    after(build, "network_from", change)


@variant("no batch norm in pooling")
def _() -> None:
    def without(net: DeepLab) -> DeepLab:
        net.encoder.aspp.pool[1] = nn.Identity()
        return net

    change_network(without)


@variant("residual read")
def _() -> None:
    """Features plus a gate, zero at the start, times what is recalled."""

    def gated(net: DeepLab) -> DeepLab:
        if net.memory is not None:
            net.memory.gate = nn.Parameter(torch.zeros(net.memory.items.shape[1], 1, 1))
        return net

    change_network(gated)
    original = CategoricalMemory.read

    def read(self: CategoricalMemory, features: Tensor, items: Tensor, *, gumbel: bool = False) -> Reading:
        reading = original(self, features, items, gumbel=gumbel)
        return reading._replace(features=features + self.gate * reading.features)

    CategoricalMemory.read = read


@variant("keys not rectified")
def _() -> None:
    rectified = F.relu
    original = CategoricalMemory.write

    def write(self: CategoricalMemory, *args: Any, **kwargs: Any) -> Tensor:
        F.relu = lambda x: x
        try:
            return original(self, *args, **kwargs)
        finally:
            F.relu = rectified

    CategoricalMemory.write = CategoricalMemory.forward = write


@variant("items centred")
def _() -> None:
    """Cosines of pixels and items after the mean of all items was subtracted from both."""
    original = CategoricalMemory.read

    def read(self: CategoricalMemory, features: Tensor, items: Tensor, *, gumbel: bool = False) -> Reading:
        centre = items.mean(dim=0)
        unit = F.normalize(at_least_single(features), dim=1) - centre[:, None, None]
        return original(self, unit, F.normalize(items - centre, dim=1), gumbel=gumbel)

    CategoricalMemory.read = read


class CosineClassifier(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 10 * F.normalize(x, dim=1) @ F.normalize(self.weight, dim=1).T


@variant("classifier by cosine")
def _() -> None:
    def exchanged(net: DeepLab) -> DeepLab:
        if net.memory is not None:
            net.memory.classifier.__class__ = CosineClassifier
        return net

    change_network(exchanged)


@variant("memory after 100 iterations")
def _() -> None:
    """The first memory is written once more, from the batches of the iterations 90 to 99."""
    step = PinMem.step

    def with_new_memory(self: PinMem, batch: Batch) -> dict[str, Tensor]:
        done = self.scheduler.last_epoch
        if 90 <= done < 100:
            self.recent = [*getattr(self, "recent", ()), replace_roles(batch)]
        if done == 100:
            write_first_memory(self.net, self.recent)
        return step(self, batch)

    PinMem.step = with_new_memory


def replace_roles(batch: Batch) -> Batch:
    return batch._replace(meta_test=torch.zeros_like(batch.meta_test))
