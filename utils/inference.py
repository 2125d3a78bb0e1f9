"""Segmenting an image in overlapping windows or at several scales.

An image (3,H,W) comes as views, one per scale.  Each view is predicted and resized back to the size of the image.  Only
the sum of all predictions is kept, on the device of the network, so memory does not grow with the number of scales.
Maps (1,K,h,w) keep the memory layout of the network's output and are added in strips of rows that fit into a
processor's cache, because everything outside the network should cost little time.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Logits = Callable[[Tensor], Tensor]  # a network: images N,3,h,w to logits N,K,h,w, in single precision at least
Views = Mapping[float, Tensor]  # scale -> the image at that scale, 3,h,w
Size = Sequence[int]  # height and width

WINDOW_PIXELS = 2048 * 1024  # pixels of the windows in one pass of the network: those of a Cityscapes image
WINDOW_PIXELS_CPU = 768 * 768  # on a CPU, more windows at once take more memory and no less time
STRIP_PIXELS = 2**15  # pixels of a map that are added at once


class Window(NamedTuple):
    left: int
    top: int
    right: int
    bottom: int


def mean_over_views(
    predict: Callable[[Tensor, float], Tensor], views: Views, *, size: Size, flip: bool, softmax: bool
) -> Tensor:
    """The mean (K,H,W of ``size``) of predictions (1,K,h,w) over all views and, with ``flip``, their mirror images.

    ``predict`` gets an image and its scale.  With ``softmax``, the predictions are logits and the mean is of their
    probabilities.  Large views come first, so that each can reuse the memory of the one before.
    """
    total: Tensor | None = None
    for scale, view in sorted(views.items(), reverse=True):
        for mirrored in (False, True) if flip else (False,):
            answer = predict(view.flip(-1) if mirrored else view, scale)
            if answer.shape[-2:] != size:  # pixels are areas, not points, as in OpenCV
                answer = F.interpolate(answer, size, mode="bilinear", align_corners=False)
            total = zeros_like(answer, size) if total is None else total
            add_in_strips(total, answer, mirrored=mirrored, softmax=softmax)
            del answer  # before the next one is computed
    return total.div_(len(views) * (1 + flip))[0]


def add_in_strips(total: Tensor, x: Tensor, *, mirrored: bool, softmax: bool = False) -> None:
    """Add a map or its ``softmax`` over the classes in place; a ``mirrored`` map is mirrored back."""
    rows = max(1, STRIP_PIXELS // total.shape[-1])
    for sums, strip in zip(total.split(rows, dim=-2), x.split(rows, dim=-2), strict=True):
        if softmax:  # over the last dimension, it takes less time
            strip = strip.movedim(1, -1).softmax(dim=-1).movedim(-1, 1)
        sums += strip.flip(-1) if mirrored else strip


def zeros_like(answer: Tensor, size: Size) -> Tensor:
    """Zeros (1,K,H,W of ``size``) in the memory layout of ``answer`` (N,K,h,w): adding different layouts is slow."""
    last = answer.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    shape, like = (1, answer.shape[1], *size), {"dtype": answer.dtype, "device": answer.device}
    return torch.empty(shape, **like, memory_format=layout).zero_()


def windows(width: int, height: int, *, tile: int, overlap: float) -> list[Window]:
    """Windows of side ``tile`` that cover an image, column by column; neighbours share at least ``overlap`` of a side.

    All have the same size: the last ones are moved back into the image.  A side shorter than the tile is one window.
    """
    stride = math.ceil(tile * (1 - overlap))  # floating point: 144 and 1/3 give 97, as published

    def starts(size: int) -> list[int]:
        steps = math.ceil(max(0, size - tile) / stride)
        return [min(step * stride, max(0, size - tile)) for step in range(steps + 1)]

    return [
        Window(left, top, min(left + tile, width), min(top + tile, height))
        for left in starts(width)
        for top in starts(height)
    ]


def by_windows(logits: Logits, image: Tensor, *, tile: int, overlap: float, counts: str) -> Tensor:
    """Logits (1,K,h,w) of an image (3,h,w): the sum over the windows that contain a pixel, divided by ``divisor``."""
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
        del out, x  # before the next ones are computed
    return total.div_(divisor(boxes, total.shape[1:], counts=counts, device=image.device))


def divisor(
    boxes: Iterable[Window], shape: tuple[int, int, int], *, counts: str, device: torch.device | str = "cpu"
) -> Tensor:
    """The divisor of sums over windows (K,h,w).  With ``counts`` 'pixel', it is the number of windows over each pixel.

    'row' is the published count, reconstructed from the published results: it counts places (y, x) in a map of size
    (class, row) and uses that for every column.  So row y is divided by the number of windows over column y, and pixels
    under several windows get more weight in the mean over scales and mirror images.
    """
    classes, height, width = shape
    number = torch.zeros((height, width) if counts == "pixel" else (classes, height), device=device)
    for box in boxes:
        number[box.top : box.bottom, box.left : box.right] += 1
    return number if counts == "pixel" else number.clamp_min(1)[..., None]  # a portrait's last rows have no count
