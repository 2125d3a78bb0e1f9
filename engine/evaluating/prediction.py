"""How a network looks at an image in evaluation, and the labels that it predicts."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL.Image import Resampling
from torch import Tensor

from datasets.transforms import Pyramid, normalise
from engine.machine import autocast
from network.deeplab import DeepLab, SegOutput
from utils.inference import Logits, by_windows, mean_over_views
from utils.seeds import seed_of


@dataclass(frozen=True)
class Inference:
    """How an image is looked at; by default whole and once, as in validation."""

    mode: str = "whole"  # or sliding, pooling
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    crop_size: int = 768  # this and the next two are for sliding only
    overlap: float = 1 / 3
    counts: str = "pixel"

    @property
    def pyramid(self) -> Pyramid:
        """Makes the views of an image at scales other than 1."""
        resample = Resampling.BICUBIC if self.mode == "pooling" else Resampling.BILINEAR
        return Pyramid(tuple(scale for scale in self.scales if scale != 1), resample)

    @property
    def tag(self) -> str:
        """The name for a folder of results: whole, sliding_1.0_flip, pooling_0.5,1.0,2.0."""
        scales = ",".join(map(str, self.scales))
        return "whole" if self.mode == "whole" else f"{self.mode}_{scales}{'_flip' if self.flip else ''}"

    def __call__(self, logits: Logits, image: Tensor, resized: Sequence[Tensor]) -> Tensor:
        """Mean logits (K,H,W) of an image (3,H,W) and its views ``resized``, made by ``pyramid``.

        With 'pooling', the mean of probabilities.  A window's side is ``crop_size``, multiplied by the scale if that
        is above 1.
        """

        def at_once(view: Tensor, scale: float) -> Tensor:
            return logits(view[None])

        def in_windows(view: Tensor, scale: float) -> Tensor:
            tile = int(self.crop_size * max(scale, 1.0))
            return by_windows(logits, view, tile=tile, overlap=self.overlap, counts=self.counts)

        if self.mode == "whole":
            return at_once(image, 1.0)[0]
        others = iter(resized)
        views = {scale: image if scale == 1 else next(others) for scale in self.scales}
        pooling = self.mode == "pooling"
        predict = at_once if pooling else in_windows
        return mean_over_views(predict, views, size=image.shape[-2:], flip=self.flip, softmax=pooling)


class Predictor:
    """Labels images with a network, which it puts into evaluation mode.

    ``gumbel`` adds noise to the memory's reads, ``image_in`` normalises each image by its own statistics, ``precision``
    is that of ``engine.machine.choose_precision``.
    """

    def __init__(
        self,
        net: DeepLab,
        *,
        device: torch.device,
        inference: Inference,
        gumbel: bool = False,
        image_in: bool = False,
        precision: str = "off",
    ):
        self.net, self.device, self.inference = net.eval(), device, inference
        self.noisy = gumbel and net.memory is not None
        self.image_in, self.precision = image_in, precision

    @torch.no_grad()
    def __call__(self, image: Tensor, resized: Sequence[Tensor], *, index: int, read: int = 0) -> Tensor:
        """Train ids (H,W uint8, on the device) of an image (3,H,W uint8) and its further sizes."""
        return likeliest(self.maps(image, resized, index=index, read=read), dim=0)

    def probabilities(self, maps: Tensor) -> Tensor:
        """The probabilities that belong to ``maps``."""
        return maps if self.inference.mode == "pooling" else maps.softmax(0)

    @torch.no_grad()
    def maps(self, image: Tensor, resized: Sequence[Tensor], *, index: int, read: int = 0) -> Tensor:
        """Mean logits or, with 'pooling', mean probabilities (K,H,W).

        The noise of a memory read depends only on the numbers of image and read: the results repeat, for any number of
        processes.
        """
        self.seed_noise(read, index)
        views = [self.normalised(view) for view in (image, *resized)]
        return self.inference(self.logits, views[0], views[1:])

    @torch.no_grad()
    def batch_logits(self, images: Tensor, *, seeds: Sequence[int]) -> Tensor:
        """Logits (N,K,H,W, on the device) of whole images (N,3,H,W uint8), which the network sees as one batch.

        The noise of a memory read depends on ``seeds`` only.
        """
        self.seed_noise(*seeds)
        return self.logits(self.normalised(images))

    @torch.no_grad()
    def output(self, image: Tensor, *, index: int) -> SegOutput:
        """All that the network returns for a whole image (3,H,W uint8), with N = 1; noise as above."""
        self.seed_noise(0, index)
        return self.forward(self.normalised(image)[None])

    def seed_noise(self, *numbers: int) -> None:
        if self.noisy:
            torch.manual_seed(seed_of(*numbers))

    def normalised(self, images: Tensor) -> Tensor:
        """Whole images (...,3,h,w uint8) as the network takes them."""
        return normalise(images.to(self.device, non_blocking=True), image_in=self.image_in)

    def logits(self, images: Tensor) -> Tensor:
        """Logits (N,K,h,w) of normalised images (N,3,h,w)."""
        return self.forward(images).logits

    def forward(self, images: Tensor) -> SegOutput:
        with autocast(self.precision, self.device):
            return self.net(images, gumbel=self.noisy)

    def describe(self) -> dict[str, object]:
        """How a prediction is made."""
        way = self.inference
        views = {"mode": way.mode, "scales": list(way.scales), "flip": way.flip}
        if way.mode == "sliding":
            views |= {"window": way.crop_size, "overlap": way.overlap, "window_counts": way.counts}
        return views | {
            "memory_read": "none" if self.net.memory is None else "gumbel" if self.noisy else "softmax",
            "precision": self.precision,
            "device": self.device.type,
            "normalised_by": "the image itself" if self.image_in else self.net.encoder.backbone.normalised_by,
        }


def likeliest(maps: Tensor, *, dim: int) -> Tensor:
    """The class of each pixel, uint8.  On a CPU ``max`` takes a third of the time of ``argmax``."""
    return maps.max(dim).indices.to(torch.uint8)
