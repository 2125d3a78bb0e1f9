"""Pictures of predictions, as arrays and tensors."""

import numpy as np
from PIL import Image

OVERLAY = 0.6  # share of the colours in an overlay


def overlay(image: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Colours blended over an image; all H,W,3 uint8."""
    return (OVERLAY * colours.astype(np.float32) + (1 - OVERLAY) * image).astype(np.uint8)


def errors(image: np.ndarray, labels: np.ndarray, prediction: np.ndarray, num_classes: int) -> np.ndarray:
    """The image in grey, wrong pixels in red, unlabelled ones dark; labels and prediction are H,W uint8."""
    grey = np.asarray(Image.fromarray(image).convert("L"))[..., None].repeat(3, axis=2)
    picture = np.where((labels < num_classes)[..., None], grey, grey // 3)
    picture[(labels < num_classes) & (labels != prediction)] = 220, 40, 40
    return picture
