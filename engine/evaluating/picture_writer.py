"""Pictures of every labelled image that is evaluated."""

from pathlib import Path

from datasets.labels import ClassSet
from engine.evaluating.scoring import Predicted
from utils.pictures import errors, overlay, save_picture

KINDS = ("colours", "overlay", "errors")


class PictureWriter:
    """Writes three pictures per image: the prediction in class colours, over the image, and the wrong pixels in red."""

    def __init__(self, folder: Path, classes: ClassSet):
        self.folder, self.classes = folder, classes

    def __call__(self, predicted: Predicted) -> None:
        image = predicted.image.permute(1, 2, 0).numpy()
        labels, prediction = predicted.labels.numpy(), predicted.prediction.cpu().numpy()
        colours = self.classes.colourise(prediction)
        wrong = errors(image, labels, prediction, len(self.classes))
        for kind, picture in zip(KINDS, (colours, overlay(image, colours), wrong), strict=True):
            save_picture(self.folder / kind / f"{predicted.name}.png", picture)
