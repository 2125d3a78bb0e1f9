"""Scoring a network on labelled domains."""

from argparse import Namespace
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from datasets.images import LabelledImages
from datasets.labels import ClassSet
from engine.build import evaluation_batches
from engine.evaluating.prediction import Inference, Predictor
from network.deeplab import DeepLab
from utils.errors import UsageError
from utils.metrics import ConfusionMatrix, Scores
from utils.processes import rank, world_size

FREQUENT = 0.01  # share of the labelled pixels from which a class counts as frequent


class Predicted(NamedTuple):
    """One image of a domain with its prediction."""

    name: str
    image: Tensor  # 3,H,W uint8
    labels: Tensor  # H,W uint8
    prediction: Tensor  # H,W uint8


Each = Callable[[Predicted], None]


def ignore(predicted: Predicted) -> None:
    """What is done with each image when no pictures are wanted."""


def score_domain(
    net: DeepLab, args: Namespace, images: LabelledImages, device: torch.device, *, each: Each = ignore
) -> Scores:
    """The scores of a domain as in validation: images whole, read once; ``each`` is called with every image."""
    (scores,) = score_reads(Predictor(net, args, device=device, inference=Inference()), images, args=args, each=each)
    return scores


def score_reads(
    predict: Predictor, images: LabelledImages, *, args: Namespace, reads: int = 1, each: Each = ignore
) -> list[Scores]:
    """The scores of each of ``reads`` reads of a domain, which differ in the noise of the memory's read.

    Of several processes each takes every so manyth image and calls ``each`` with those, for the first read.
    """
    matrices = [ConfusionMatrix(len(images.spec.classes), predict.device) for _ in range(reads)]
    mine = range(rank(), len(images), world_size())
    loader = evaluation_batches(args, images, indices=mine, pyramid=predict.inference.pyramid)
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
    """The scores of what all processes counted together."""
    matrix.gather()
    assert matrix.images == len(images), f"{matrix.images} images scored of {len(images)}"
    if not matrix.counts.any():
        name, split = images.spec.name, images.split
        raise UsageError(f"{name} {split}: not one pixel is labelled; choose a --split with labels or check the labels")
    return matrix.scores()


def summary(scores: Scores) -> dict[str, float]:
    """The numbers by which a domain is known."""
    return {
        "mean_iou": scores.mean_iou,
        "mean_iou_frequent": scores.mean_iou_above(FREQUENT),
        "accuracy": scores.accuracy,
    }


class FirstPicture:
    """Remembers the first image of a domain, to be looked at; ``within`` is called after every image."""

    def __init__(self, within: Callable[[], None], classes: ClassSet) -> None:
        self.within, self.classes = within, classes
        self.seen: Predicted | None = None

    def __call__(self, predicted: Predicted) -> None:
        self.within()
        self.seen = self.seen or predicted

    def strip(self) -> Tensor:
        """Image, labels and prediction side by side: 3,H,3W uint8."""
        maps = (self.classes.colourise(x.cpu().numpy()) for x in (self.seen.labels, self.seen.prediction))
        return torch.cat([self.seen.image, *(torch.from_numpy(x).permute(2, 0, 1) for x in maps)], dim=2)
