"""Pictures of every image that is evaluated."""

from pathlib import Path

import numpy as np
from PIL import Image

from datasets.labels import CLASSES, colourise
from engine.evaluation import Predicted
from utils.pictures import errors, overlay

KINDS = ("colours", "overlay", "errors")


class PictureWriter:
    """Writes, per image: the prediction in class colours, the same over the image, and the wrong pixels in red."""

    def __init__(self, folder: Path):
        self.folder = folder
        for kind in KINDS:
            (folder / kind).mkdir(parents=True, exist_ok=True)

    def __call__(self, predicted: Predicted) -> None:
        image = predicted.image.permute(1, 2, 0).numpy()
        labels, prediction = predicted.labels.numpy(), predicted.prediction.cpu().numpy()
        colours = colourise(prediction)
        wrong = errors(image, labels, prediction, len(CLASSES))
        pictures: tuple[np.ndarray, ...] = (colours, overlay(image, colours), wrong)
        for kind, picture in zip(KINDS, pictures, strict=True):
            Image.fromarray(picture).save(self.folder / kind / f"{predicted.name}.png", compress_level=1)
