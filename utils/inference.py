"""Ways to look at an image: whole, through a sliding window, or at several scales.

An image (3,H,W) is given as its views, one per scale, which are predicted and brought back to the size of the image.
Of all predictions only a sum is kept, on the device of the network, so memory does not grow with the number of scales.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from utils.precision import at_least_single

Logits = Callable[[Tensor], Tensor]  # a network: images N,3,h,w to logits N,K,h,w
Views = Mapping[float, Tensor]  # scale -> the image at that scale, 3,h,w

WINDOW_PIXELS = 2048 * 1024  # windows that go through the network together: as much as one whole Cityscapes image


class Window(NamedTuple):
    left: int
    top: int
    right: int
    bottom: int


def whole(logits: Logits, image: Tensor) -> Tensor:
    """Logits (K,H,W) of an image (3,H,W) in one pass."""
    return at_least_single(logits(image[None])[0])


def sliding(
    logits: Logits,
    views: Views,
    *,
    size: tuple[int, int],
    tile: int,
    overlap: float = 1 / 3,
    flip: bool = False,
    counts: str = "pixel",
) -> Tensor:
    """Mean of logits (K,H,W of ``size``) over overlapping windows, then over mirror images and scales.

    A window has the side ``tile``, enlarged with the scales above 1.  ``counts`` is explained at ``divisor``.
    """

    def predict(view: Tensor, scale: float) -> Tensor:
        side = int(tile * max(scale, 1.0))
        return fit(by_windows(logits, view, tile=side, overlap=overlap, counts=counts), size)

    return average(predictions(predict, views, flip=flip))


def pooled(logits: Logits, views: Views, *, size: tuple[int, int], flip: bool = False) -> Tensor:
    """Mean of probabilities (K,H,W of ``size``) over scales and mirror images, each seen whole."""

    def predict(view: Tensor, scale: float) -> Tensor:
        return fit(whole(logits, view), size).softmax(dim=0)

    return average(predictions(predict, views, flip=flip))


def predictions(predict: Callable[[Tensor, float], Tensor], views: Views, *, flip: bool) -> Iterator[Tensor]:
    """What is predicted for each view and, with ``flip``, for its mirror image, mirrored back."""
    for scale, view in views.items():
        yield predict(view, scale)
        if flip:
            yield predict(view.flip(-1), scale).flip(-1)


def average(maps: Iterable[Tensor]) -> Tensor:
    """The mean of maps that come one by one; the first of them becomes the sum."""
    maps = iter(maps)
    total, number = next(maps), 1
    for x in maps:
        total += x
        number += 1
    return total.div_(number)


def fit(x: Tensor, size: tuple[int, int]) -> Tensor:
    """A map K,h,w resized to K,H,W bilinearly, pixels being areas and not points (as OpenCV does)."""
    return x if x.shape[-2:] == size else F.interpolate(x[None], size, mode="bilinear", align_corners=False)[0]


def windows(width: int, height: int, *, tile: int, overlap: float) -> list[Window]:
    """Windows of the side ``tile`` that cover an image and overlap by a share of ``overlap`` or more, column by column.

    All are equal in size: the last ones are pushed back inside, and a side that is shorter than the tile is one window.
    """
    stride = math.ceil(tile * (1 - overlap))  # in floating point, so 144 and 1/3 give 97: as published

    def starts(size: int) -> list[int]:
        steps = math.ceil(max(0, size - tile) / stride)
        return [min(step * stride, max(0, size - tile)) for step in range(steps + 1)]

    return [
        Window(left, top, min(left + tile, width), min(top + tile, height))
        for left in starts(width)
        for top in starts(height)
    ]


def by_windows(logits: Logits, image: Tensor, *, tile: int, overlap: float, counts: str = "pixel") -> Tensor:
    """Logits (K,h,w) of an image (3,h,w), summed over the windows that see a pixel and divided by ``divisor``."""
    height, width = image.shape[-2:]
    boxes = windows(width, height, tile=tile, overlap=overlap)
    together = max(1, WINDOW_PIXELS // (min(tile, height) * min(tile, width)))
    total: Tensor | None = None
    for first in range(0, len(boxes), together):
        group = boxes[first : first + together]
        out = logits(torch.stack([image[:, box.top : box.bottom, box.left : box.right] for box in group]))
        if total is None:
            total = at_least_single(out.new_zeros(out.shape[1], height, width))
        for box, x in zip(group, out, strict=True):
            total[:, box.top : box.bottom, box.left : box.right] += x
    return total.div_(divisor(boxes, total.shape, counts=counts).to(total.device))


def divisor(boxes: Iterable[Window], shape: tuple[int, int, int], *, counts: str) -> Tensor:
    """What sums over windows (K,h,w) are divided by: for ``counts`` 'pixel' the number of windows over each pixel.

    'row' is the published count, found from its results: places (y, x) are counted in a map of (class, row), which is
    then used for every column.  So a row is divided by the windows over the column of its number, and pixels under
    several windows weigh more in the mean over scales and mirror images.
    """
    classes, height, width = shape
    number = torch.zeros((height, width) if counts == "pixel" else (classes, height))
    for box in boxes:
        number[box.top : box.bottom, box.left : box.right] += 1
    return number if counts == "pixel" else number.clamp_min(1)[..., None]  # a portrait's last rows are counted nowhere
