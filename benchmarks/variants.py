"""One factor at a time: changes of the methods that ``benchmarks.generalise`` compares.

A variant patches classes for the life of a process, and every run has a process of its own.  What proved useful became
a flag; the others stay here, so that every row of docs/results.md can be repeated.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.v2 import functional

from datasets.labels import IGNORE
from datasets.sampling.loaders import Batch
from datasets.sampling.requests import IterationSampler, Request
from datasets.transforms import Augmentation, Pair
from engine import build
from engine.training import run, trainer
from methods import pinmem
from methods.method import Method
from methods.pinmem import PinMem, write_first_memory
from network import categorical_memory
from network.categorical_memory import GATE, CategoricalMemory, Reading
from network.deeplab import DeepLab, Encoder

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


@variant("strong jitter for all")
def _() -> None:
    def jittered(requests: list[Request]) -> list[Request]:
        return [request._replace(hard=True) for request in requests]

    after(IterationSampler, "requests", jittered)


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


def begin_gate(value: float, *, trains: bool) -> None:
    """Set the gate of a residual read.  While it is 0, the decoder does not see the memory."""

    def begun(net: DeepLab) -> DeepLab:
        if net.memory is not None:
            nn.init.constant_(net.memory.gate, value).requires_grad_(trains)
        return net

    change_network(begun)


VARIANTS["gate shut"] = lambda: begin_gate(0, trains=False)
VARIANTS["gate open"] = lambda: begin_gate(1 / GATE, trains=True)
VARIANTS["gate thirty"] = lambda: setattr(categorical_memory, "GATE", 30)


@variant("cohesion by class")
def _() -> None:
    """The mean over classes, not over pixels: items of small classes are nearest to none of their pixels otherwise."""

    def by_class(scores: Tensor, labels: Tensor, *, temperature: float) -> Tensor:
        logits = F.interpolate(scores / temperature, labels.shape[-2:], mode="bilinear", align_corners=True)
        slots = scores.shape[1]
        pixels = torch.bincount(labels[labels < slots].long(), minlength=slots)
        weight = torch.where(pixels > 0, 1 / pixels.clamp_min(1), 0)
        return F.cross_entropy(logits, labels.long(), weight=weight, ignore_index=IGNORE)

    pinmem.cohesion_loss = by_class


@variant("temperatures learned")
def _() -> None:
    """Reads and cohesion have one temperature, which begins at 1.  SGD moves it as fast as a gate."""
    original = CategoricalMemory.read

    def read(self: CategoricalMemory, *args: Any, **settings: Any) -> Reading:
        self.read_temp = torch.exp(-GATE * self.sharpness)
        reading = original(self, *args, **settings)
        return reading._replace(scores=reading.scores / self.read_temp)

    def learned(net: DeepLab) -> DeepLab:
        net.memory.sharpness = nn.Parameter(torch.zeros(()))
        return net

    CategoricalMemory.read = read
    change_network(learned)


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
            self.recent = [*getattr(self, "recent", ()), batch]
        if done == 100:
            write_first_memory(self.net, self.recent)
        return step(self, batch)

    PinMem.step = with_new_memory


# What may help any method


def augment(change: Callable[[Image.Image, np.random.Generator], Image.Image]) -> None:
    """Change every training image once more, after its other augmentations."""
    original = Augmentation.__call__

    def call(self: Augmentation, *pair: Any, **more: Any) -> Pair:
        pixels, label = original(self, *pair, **more)
        return np.asarray(change(Image.fromarray(pixels), pair[2])), label

    Augmentation.__call__ = call


PHOTOMETRIC: list[Callable[[Image.Image, float], Image.Image]] = [  # the second argument is a strength from 0 to 1
    lambda image, x: functional.autocontrast(image),
    lambda image, x: functional.equalize(image),
    lambda image, x: functional.posterize(image, 8 - round(4 * x)),
    lambda image, x: functional.solarize(image, 256 - 128 * x),
    lambda image, x: functional.adjust_sharpness(image, 1 + 2 * x),
    lambda image, x: functional.adjust_brightness(image, 1 - 0.6 * x),
    lambda image, x: functional.adjust_brightness(image, 1 + 0.6 * x),
    lambda image, x: functional.adjust_contrast(image, 1 - 0.6 * x),
    lambda image, x: functional.adjust_contrast(image, 1 + 0.6 * x),
    lambda image, x: functional.adjust_saturation(image, 1 - x),
    lambda image, x: functional.adjust_saturation(image, 1 + x),
    lambda image, x: functional.adjust_hue(image, 0.15 * x),
    lambda image, x: functional.adjust_hue(image, -0.15 * x),
]


@variant("random photometric operations")
def _() -> None:
    """Two operations at a random strength, as in RandAugment (Cubuk et al. 2020), without those that move pixels."""

    def change(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        for index in rng.choice(len(PHOTOMETRIC), 2, replace=False):
            image = PHOTOMETRIC[index](image, rng.random())
        return image

    augment(change)


@variant("PASTA")
def _() -> None:
    """Random amplitudes, more so at high frequencies (Chattopadhyay et al. 2023: alpha 3, k 2, beta .25)."""

    def change(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        spectrum = np.fft.fft2(np.asarray(image, dtype=np.float32), axes=(0, 1))
        down, right = np.meshgrid(*map(np.fft.fftfreq, spectrum.shape[:2]), indexing="ij")
        deviation = (2 * 3 * np.sqrt((down**2 + right**2) / 2)) ** 2 + 0.25
        amplitude = np.abs(spectrum) * (1 + deviation[..., None] * rng.standard_normal(spectrum.shape))
        changed = np.fft.ifft2(amplitude * np.exp(1j * np.angle(spectrum)), axes=(0, 1)).real
        return Image.fromarray(changed.clip(0, 255).astype(np.uint8))

    augment(change)


def mix_statistics(_module: nn.Module, _inputs: Any, x: Tensor) -> Tensor:
    """MixStyle (Zhou et al. 2021): mean and deviation of an image's maps, mixed with those of another image."""
    if not torch.is_grad_enabled() or torch.rand(()) < 0.5:
        return x
    mean = x.mean((2, 3), keepdim=True).detach()
    deviation = (x.var((2, 3), keepdim=True) + 1e-6).sqrt().detach()
    share = torch.distributions.Beta(0.1, 0.1).sample((len(x), 1, 1, 1)).to(x)
    order = torch.randperm(len(x))
    mixed = [share * of_image + (1 - share) * of_image[order] for of_image in (mean, deviation)]
    return (x - mean) / deviation * mixed[1] + mixed[0]


@variant("MixStyle")
def _() -> None:
    def hooked(net: DeepLab) -> DeepLab:
        for stage in net.encoder.backbone.stages[:2]:
            stage.register_forward_hook(mix_statistics)
        return net

    change_network(hooked)


@variant("averaged weights")
def _() -> None:
    """Checkpoints hold the exponential moving average of weights, statistics and memory; validations use the others."""
    apply, save = Method.apply, trainer.save_numbered
    averages: dict[str, Tensor] = {}

    def averaged_apply(self: Method, *gradients: list[Tensor], **settings: bool) -> None:
        apply(self, *gradients, **settings)
        for name, value in self.net.state_dict().items():
            if name not in averages or not value.is_floating_point():
                averages[name] = value.clone()
            averages[name].lerp_(value, 0.03) if value.is_floating_point() else None

    Method.apply = averaged_apply
    trainer.save_numbered = lambda folder, content, **more: save(folder, {**content, "weights": averages}, **more)


@variant("frozen stem")
def _() -> None:
    """Unlike with ``--tune last:3``, statistics of batch norm move, and checkpoints hold all weights."""
    Encoder.train = nn.Module.train
    run.frozen_facts = lambda *_: None

    def frozen(net: DeepLab) -> DeepLab:
        for part in (net.encoder.backbone.stem, net.encoder.backbone.stages[0]):
            part.requires_grad_(False)
        return net

    change_network(frozen)
