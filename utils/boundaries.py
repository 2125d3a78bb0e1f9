"""Boundary IoU (Cheng et al., 2021): how well predictions agree with labels near the contours of their classes."""

import math

import cv2
import numpy as np
import torch
from torch import Tensor

from utils.metrics import ConfusionMatrix
from utils.options import IGNORE


class BoundaryMatrix(ConfusionMatrix):
    """The confusion matrix of borders, on the CPU; its last class is the inside of all classes.

    The border of a class are the pixels of its mask with another class within d rows and columns.  ``share`` of the
    image's diagonal is d, rounded, at least 1.  As in the authors' code, the outside of the image is another class.
    A pixel whose label is no class is not counted, and makes no contour, neither of labels nor of predictions.
    """

    def __init__(self, num_classes: int, *, share: float):
        super().__init__(num_classes + 1)
        self.share = share

    def update(self, labels: Tensor, predictions: Tensor) -> None:
        inside = self.num_classes - 1
        label, prediction = labels.cpu().numpy(), predictions.cpu().numpy()
        valid = label < inside
        reach = max(1, round(self.share * math.hypot(*label.shape)))
        borders = [np.where(on_border(classes, valid, reach), classes, inside) for classes in (label, prediction)]
        super().update(torch.from_numpy(np.where(valid, borders[0], IGNORE)), torch.from_numpy(borders[1]))


def on_border(classes: np.ndarray, valid: np.ndarray, reach: int) -> np.ndarray:
    """Whether a pixel (H,W uint8) has another class than its own, or the outside, within ``reach``.

    It has if the largest or the smallest class of the ``valid`` pixels around it is not its own.
    """
    square = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    numbers = classes + np.uint8(1)  # 1 to 254
    outside = {"borderType": cv2.BORDER_CONSTANT, "borderValue": 255}
    largest = cv2.dilate(np.where(valid, numbers, np.uint8(0)), square, **outside)
    smallest = cv2.erode(np.where(valid, numbers, np.uint8(255)), square, **outside)
    return (largest != numbers) | (smallest != numbers)
