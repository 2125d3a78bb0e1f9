"""Boundary IoU (Cheng et al., 2021): how well predictions agree with labels near the contours of their classes."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from utils.metrics import ConfusionMatrix
from utils.options import IGNORE


class BoundaryMatrix(ConfusionMatrix):
    """The confusion matrix of borders; its last class is the inside of all classes.

    The border of a class are the pixels of its mask with another class within d rows and columns.  ``share`` of the
    image's diagonal is d, rounded, at least 1.  As in the authors' code, the outside of the image is another class.
    A pixel whose label is no class is not counted, and makes no contour, neither of labels nor of predictions.
    """

    def __init__(self, num_classes: int, device: torch.device | str = "cpu", *, share: float):
        super().__init__(num_classes + 1, device)
        self.share = share

    def update(self, labels: Tensor, predictions: Tensor) -> None:
        inside = self.num_classes - 1
        valid = labels < inside
        reach = max(1, round(self.share * math.hypot(*labels.shape)))
        borders = [
            torch.where(on_border(classes, valid, reach), classes, inside)
            for classes in (labels.to(torch.int16), predictions.to(torch.int16))
        ]
        super().update(torch.where(valid, borders[0], IGNORE), borders[1])

    def class_iou(self) -> Tensor:
        """The boundary IoU of each class (K float64), NaN for a class without borders."""
        return self.scores().iou[:-1]


def on_border(classes: Tensor, valid: Tensor, reach: int) -> Tensor:
    """Whether another class than that of the pixel (H,W int16), or the outside, is within ``reach``.

    So it is where the largest or the smallest class around the pixel is not its own.  Pixels that are not ``valid`` are
    0, below all others, in both maps.
    """
    rising, falling = torch.where(valid, classes + 1, 0), torch.where(valid, IGNORE - classes, 0)
    outside = IGNORE + 1
    return (largest_around(rising, reach, outside) != rising) | (largest_around(falling, reach, outside) != falling)


def largest_around(values: Tensor, reach: int, outside: int) -> Tensor:
    """The largest of ``values`` (H,W) within ``reach`` rows and columns of each pixel; the image is in ``outside``.

    A window is the larger of two smaller windows, so the cost grows with the logarithm of ``reach``.
    """
    values = F.pad(values, [reach] * 4, value=outside)
    for dim in (0, 1):
        width = 1
        while width <= 2 * reach:
            step = min(width, 2 * reach + 1 - width)
            length = values.shape[dim] - step
            values = torch.maximum(values.narrow(dim, 0, length), values.narrow(dim, step, length))
            width += step
    return values
