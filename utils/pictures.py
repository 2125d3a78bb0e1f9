"""Pictures of predictions, as arrays and files."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

from utils.distributed import rank

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


def save_picture(path: Path, picture: np.ndarray) -> None:
    """Write H,W,3 or H,W uint8 as PNG into folders made for it, in full or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{rank()}.partial")  # not longer than the name itself may be, and each process's own
    try:
        Image.fromarray(picture).save(partial, format="PNG", compress_level=1)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
