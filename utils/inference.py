"""Ways to look at an image: whole, through a sliding window, or at several scales.

An image (3,H,W) is given as its views, one per scale, which are predicted and brought back to the size of the image.
Of all predictions only a sum is kept, on the device of the network, so memory does not grow with the number of scales.
Maps are 1,K,h,w in the memory layout of the network's answers, and are added up in strips of rows, which stay in a
processor's cache: both decide what all this costs beside the network.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from utils.precision import at_least_single

Logits = Callable[[Tensor], Tensor]  # a network: images N,3,h,w to logits N,K,h,w
Views = Mapping[float, Tensor]  # scale -> the image at that scale, 3,h,w

WINDOW_PIXELS = 2048 * 1024  # of windows that go through the network together: as much as a whole Cityscapes image
WINDOW_PIXELS_CPU = 768 * 768  # there larger groups take more memory and no less time
STRIP_PIXELS = 2**15  # of a map that are added at once
RANGE = 80.0  # of logits, whose exponentials single precision holds in full


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

    total = Sum(size)
    for scale, view in largest_first(views):
        options = {"tile": int(tile * max(scale, 1.0)), "overlap": overlap, "counts": counts}
        for image, mirrored in mirror_images(view, flip=flip):
            total.add(fit(by_windows(logits, image, **options), size), mirrored=mirrored)
    return total.mean()


def pooled(logits: Logits, views: Views, *, size: tuple[int, int], flip: bool = False) -> Tensor:
    """Mean of probabilities (K,H,W of ``size``) over scales and mirror images, each seen whole."""
    total = Sum(size)
    for _, view in largest_first(views):
        for image, mirrored in mirror_images(view, flip=flip):
            answer = fit(at_least_single(logits(image[None])), size)
            total.add(answer, mirrored=mirrored, convert=probabilities)
            del answer  # or it would be held while the next one is made
    return total.mean()


def probabilities(x: Tensor) -> Tensor:
    """The softmax over the classes of logits 1,K,h,w.

    Where no exponential can vanish, a CPU takes logits less the maximum of all and adds up by a product: a fifth less
    time.
    """
    x = x.movedim(1, -1)  # over the last dimension it takes two thirds of the time
    low, high = x.aminmax() if x.device.type == "cpu" else (0.0, math.inf)
    if not high - low < RANGE:  # nor if one of them is not a number
        return x.softmax(dim=-1).movedim(-1, 1)
    odds = (x - high).exp_()
    return odds.div_(odds @ odds.new_ones(x.shape[-1], 1)).movedim(-1, 1)


def largest_first(views: Views) -> list[tuple[float, Tensor]]:
    """Scales and views in an order in which memory that one has used is large enough for the next."""
    return sorted(views.items(), key=lambda pair: pair[0], reverse=True)


def mirror_images(image: Tensor, *, flip: bool) -> list[tuple[Tensor, bool]]:
    """An image and, with ``flip``, its mirror image, each with whether it is that."""
    return [(image, False), (image.flip(-1), True)] if flip else [(image, False)]


class Sum:
    """The sum of maps (1,K,H,W) that come one by one, in place."""

    def __init__(self, size: tuple[int, int]):
        self.size, self.number = size, 0
        self.total: Tensor | None = None

    def add(self, x: Tensor, *, mirrored: bool = False, convert: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        """Add a map, mirrored back if it is ``mirrored``, and before that converted pixel by pixel."""
        if self.total is None:
            self.total = zeros_like(x, self.size)
        rows = max(1, STRIP_PIXELS // self.size[1])
        for first in range(0, self.size[0], rows):
            strip = convert(x[..., first : first + rows, :])
            self.total[..., first : first + rows, :] += strip.flip(-1) if mirrored else strip
        self.number += 1

    def mean(self) -> Tensor:
        """The mean (K,H,W) of what was added, which the sum becomes."""
        return self.total.div_(self.number)[0]


def zeros_like(answer: Tensor, size: tuple[int, int]) -> Tensor:
    """Zeros (1,K,H,W of ``size``) to add maps like ``answer`` (N,K,h,w) to: laid out alike, or that is slow."""
    last = answer.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    dtype = at_least_single(answer[:0]).dtype
    shape = 1, answer.shape[1], *size
    return torch.empty(shape, dtype=dtype, device=answer.device, memory_format=layout).zero_()


def fit(x: Tensor, size: tuple[int, int]) -> Tensor:
    """A map 1,K,h,w resized to 1,K,H,W bilinearly, pixels being areas and not points (as OpenCV does)."""
    return x if x.shape[-2:] == size else F.interpolate(x, size, mode="bilinear", align_corners=False)


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
    """Logits (1,K,h,w) of an image (3,h,w), summed over the windows that see a pixel and divided by ``divisor``."""
    height, width = image.shape[-2:]
    boxes = windows(width, height, tile=tile, overlap=overlap)
    pixels = WINDOW_PIXELS_CPU if image.device.type == "cpu" else WINDOW_PIXELS
    together = max(1, pixels // (min(tile, height) * min(tile, width)))
    total: Tensor | None = None
    for first in range(0, len(boxes), together):
        group = boxes[first : first + together]
        out = logits(torch.stack([image[:, box.top : box.bottom, box.left : box.right] for box in group]))
        if total is None:
            total = zeros_like(out, (height, width))
        for box, x in zip(group, out, strict=True):
            total[0, :, box.top : box.bottom, box.left : box.right] += x
        del out, x  # or they would be held while the next ones are made
    return total.div_(divisor(boxes, total.shape[1:], counts=counts).to(total.device, non_blocking=True))


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
