"""How a network looks at an image in evaluation, and what it makes of it."""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL.Image import Resampling
from torch import Tensor

from datasets.pyramid import Pyramid
from datasets.transforms import normalise
from engine.build import autocast, choose_precision
from network.deeplab import DeepLab, SegOutput
from utils.inference import Logits, pooled, sliding, whole
from utils.seeds import seed_of


@dataclass(frozen=True)
class Inference:
    """The way an image is looked at; by default whole and once, as in validation."""

    mode: str = "whole"  # or sliding, pooling
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    crop_size: int = 768  # the rest concerns sliding only
    overlap: float = 1 / 3
    counts: str = "pixel"

    @property
    def pyramid(self) -> Pyramid:
        """The views that are to be made of an image; it needs none at scale 1."""
        resample = Resampling.BICUBIC if self.mode == "pooling" else Resampling.BILINEAR
        return Pyramid(tuple(scale for scale in self.scales if scale != 1), resample)

    @property
    def tag(self) -> str:
        """Its name as a folder's: whole, sliding_1.0_flip, pooling_0.5,1.0,2.0."""
        scales = ",".join(map(str, self.scales))
        return "whole" if self.mode == "whole" else f"{self.mode}_{scales}{'_flip' if self.flip else ''}"

    def describe(self) -> dict[str, object]:
        about: dict[str, object] = {"mode": self.mode, "scales": list(self.scales), "flip": self.flip}
        if self.mode == "sliding":
            about |= {"window": self.crop_size, "overlap": self.overlap, "window_counts": self.counts}
        return about

    def __call__(self, logits: Logits, image: Tensor, resized: Sequence[Tensor]) -> Tensor:
        """Averaged logits or probabilities (K,H,W) of an image (3,H,W), ``resized`` as ``pyramid`` says."""
        if self.mode == "whole":
            return whole(logits, image)
        others = iter(resized)
        views = {scale: image if scale == 1 else next(others) for scale in self.scales}
        size = tuple(image.shape[-2:])
        if self.mode == "pooling":
            return pooled(logits, views, size=size, flip=self.flip)
        options = {"tile": self.crop_size, "overlap": self.overlap, "counts": self.counts}
        return sliding(logits, views, size=size, flip=self.flip, **options)


class Predictor:
    """Labels images with a network, in evaluation mode from now on."""

    def __init__(self, net: DeepLab, args: Namespace, *, device: torch.device, inference: Inference):
        self.net, self.device, self.inference = net.eval(), device, inference
        self.noisy = bool(args.gumbel_eval) and net.memory is not None
        self.image_in = args.image_in
        self.precision = choose_precision(args.amp, device)

    @torch.no_grad()
    def __call__(self, image: Tensor, resized: Sequence[Tensor], *, index: int, read: int = 0) -> Tensor:
        """Train ids (H,W uint8, on the device) of an image (3,H,W uint8) and its further sizes.

        The noise of a noisy memory read depends on the numbers of image and read only, so that results are the same
        next time, and for any number of processes.
        """
        self.begin(read, index)
        views = [self.normal(view) for view in (image, *resized)]
        return likeliest(self.inference(self.logits, views[0], views[1:]), dim=0)

    @torch.no_grad()
    def together(self, images: Tensor, *, numbers: Sequence[int]) -> Tensor:
        """Train ids (N,H,W uint8, on the device) of images (N,3,H,W uint8) that the network sees whole, as one batch.

        The noise of a noisy read depends on ``numbers`` only.
        """
        self.begin(*numbers)
        return likeliest(self.logits(self.normal(images)), dim=1)

    @torch.no_grad()
    def look(self, image: Tensor, *, index: int) -> SegOutput:
        """All that the network returns for an image (3,H,W uint8), seen whole; N is 1, and noise as above."""
        self.begin(0, index)
        return self.output(self.normal(image)[None])

    def begin(self, *numbers: int) -> None:
        if self.noisy:
            torch.manual_seed(seed_of(*numbers))

    def normal(self, images: Tensor) -> Tensor:
        """Images (...,3,h,w uint8), each in full, as the network wants them."""
        return normalise(images.to(self.device, non_blocking=True), image_in=self.image_in)

    def logits(self, images: Tensor) -> Tensor:
        """Logits (N,K,h,w) of normalised images (N,3,h,w)."""
        return self.output(images).logits

    def output(self, images: Tensor) -> SegOutput:
        with autocast(self.precision, self.device):
            return self.net(images, gumbel=self.noisy)

    def describe(self) -> dict[str, object]:
        """How a prediction comes about."""
        read = "none" if self.net.memory is None else "gumbel" if self.noisy else "softmax"
        about = {"memory_read": read, "precision": self.precision, "device": self.device.type}
        about["normalised_by"] = "the image itself" if self.image_in else "ImageNet"
        return self.inference.describe() | about


def likeliest(maps: Tensor, *, dim: int) -> Tensor:
    """The class of each pixel, uint8; by ``max``, which takes a third of the time of ``argmax`` on a CPU."""
    return maps.max(dim).indices.to(torch.uint8)
