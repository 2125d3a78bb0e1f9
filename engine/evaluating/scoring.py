"""Scoring a network on labelled domains."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from datasets.images import LabelledImages
from datasets.labels import ClassSet
from engine.build import evaluation_batches
from engine.evaluating.prediction import Predictor
from engine.options.run_options import ScoringOptions
from utils.errors import UsageError
from utils.metrics import ConfusionMatrix, Scores
from utils.processes import rank, world_size

FREQUENT = 0.01  # a class is frequent if it has this share of the labelled pixels


class Predicted(NamedTuple):
    """One image of a domain with its prediction."""

    name: str
    image: Tensor  # 3,H,W uint8
    labels: Tensor  # H,W uint8
    prediction: Tensor  # H,W uint8


Each = Callable[[Predicted], None]


def ignore(predicted: Predicted) -> None:
    """Do nothing with an image."""


def score_reads(
    predict: Predictor,
    images: LabelledImages,
    *,
    scoring: ScoringOptions,
    workers: int,
    reads: int = 1,
    each: Each = ignore,
) -> list[Scores]:
    """The scores of a domain, one for each of ``reads`` reads, which differ in the noise of the memory's read.

    The processes share the images, and call ``each`` with their own, for the first read.
    """
    matrices = [ConfusionMatrix(len(images.spec.classes), predict.device) for _ in range(reads)]
    mine = range(rank(), len(images), world_size())
    loader = evaluation_batches(images, scoring, indices=mine, pyramid=predict.inference.pyramid, workers=workers)
    progress = tqdm(loader, images.spec.name, leave=False, unit="image", disable=rank() > 0)
    for index, (image, labels, name, *resized) in zip(mine, progress, strict=True):
        truth = labels.to(predict.device, non_blocking=True)
        for read, matrix in enumerate(matrices):
            prediction = predict(image, resized, index=index, read=read)
            matrix.update(truth, prediction)
            if read == 0:
                each(Predicted(name, image, labels, prediction))
    return [joint_scores(matrix, images) for matrix in matrices]


def joint_scores(matrix: ConfusionMatrix, images: LabelledImages) -> Scores:
    """The scores over the images of all processes; UsageError if no pixel is labelled."""
    matrix.gather()
    assert matrix.images == len(images), f"{matrix.images} images scored of {len(images)}"
    if not matrix.counts.any():
        name, split = images.spec.name, images.split
        raise UsageError(f"{name} {split}: not one pixel is labelled; choose a --split with labels or check the labels")
    return matrix.scores()


def summary(scores: Scores) -> dict[str, float]:
    """The overall numbers of a domain."""
    return {
        "mean_iou": scores.mean_iou,
        "mean_iou_frequent": scores.mean_iou_above(FREQUENT),
        "accuracy": scores.accuracy,
    }


class FirstPicture:
    """Keeps the first image of a domain for TensorBoard, and calls ``within`` after every image."""

    def __init__(self, within: Callable[[], None], classes: ClassSet) -> None:
        self.within, self.classes = within, classes
        self.first: Predicted | None = None

    def __call__(self, predicted: Predicted) -> None:
        self.within()
        self.first = self.first or predicted

    def strip(self) -> Tensor:
        """Image, labels and prediction side by side: 3,H,3W uint8."""
        maps = (self.classes.colourise(x.cpu().numpy()) for x in (self.first.labels, self.first.prediction))
        return torch.cat([self.first.image, *(torch.from_numpy(x).permute(2, 0, 1) for x in maps)], dim=2)
