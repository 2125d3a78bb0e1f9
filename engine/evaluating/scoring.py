"""Scoring a network on labelled domains: confusion matrices, and what is measured besides."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from datasets.images import LabelledImages
from datasets.labels import ClassSet
from datasets.sampling.loaders import eval_loader
from datasets.transforms import Pyramid
from engine.evaluating.prediction import Predictor, likeliest
from engine.options.evaluation_options import MeasureOptions
from engine.options.run_options import ScoringOptions
from utils.boundaries import BoundaryMatrix
from utils.calibration import Calibration, normalised_entropy
from utils.distributed import all_sum
from utils.errors import UsageError
from utils.metrics import ConfusionMatrix, Scores
from utils.pictures import errors, heat, overlay, save_picture
from utils.processes import rank, world_size

FREQUENT = 0.01  # a class is frequent if it has this share of the labelled pixels
NOTHING_MORE = MeasureOptions()

# Takes name, image 3,H,W, labels H,W, prediction H,W (all uint8) and the confusion matrix K,K of the image.
Each = Callable[[str, Tensor, Tensor, Tensor, Tensor], None]


class MeasuredMatrix(ConfusionMatrix):
    """A confusion matrix that also counts what the options ask for."""

    def __init__(self, num_classes: int, device: torch.device, options: MeasureOptions):
        super().__init__(num_classes, device)
        self.calibration = Calibration(device) if options.calibration else None
        self.borders = BoundaryMatrix(num_classes, share=options.boundary_iou) if options.boundary_iou else None

    def update(self, labels: Tensor, predictions: Tensor, probabilities: Tensor | None = None) -> None:
        """Count the pixels of one image (H,W); calibration needs its probabilities (K,H,W)."""
        super().update(labels, predictions)
        if self.calibration:
            self.calibration.update(labels, predictions, probabilities)
        if self.borders:
            self.borders.update(labels, predictions)

    def gather(self) -> None:
        super().gather()
        if self.calibration:
            self.calibration.sums = all_sum(self.calibration.sums)
        if self.borders:
            self.borders.gather()

    def scores(self) -> Scores:
        calibration = self.calibration.scores() if self.calibration else None
        boundary_iou = self.borders.scores().iou[:-1] if self.borders else None  # without the inside
        return replace(super().scores(), calibration=calibration, boundary_iou=boundary_iou)


def score_reads(
    predict: Predictor,
    images: LabelledImages,
    *,
    scoring: ScoringOptions,
    workers: int,
    reads: int = 1,
    each: Each | None = None,
    measures: MeasureOptions = NOTHING_MORE,
    entropy: Path | None = None,
) -> list[Scores]:
    """The scores of a domain, one for each of ``reads`` reads, which differ in the noise of the memory's read.

    The processes share the images, and call ``each`` with their own, for the first read.  Pictures of its entropy go
    into the folder ``entropy``.
    """
    matrices = [MeasuredMatrix(len(images.spec.classes), predict.device, measures) for _ in range(reads)]
    mine = range(rank(), len(images), world_size())
    where = {"workers": workers, "device": predict.device.type}
    loaded = load_images(images, scoring, indices=mine, pyramid=predict.inference.pyramid, **where)
    for index, (image, labels, name, *resized) in zip(mine, loaded, strict=True):
        truth = labels.to(predict.device, non_blocking=True)
        for read, matrix in enumerate(matrices):
            maps = predict.maps(image, resized, index=index, read=read)
            prediction = likeliest(maps, dim=0)
            probabilities = predict.probabilities(maps) if measures.calibration or entropy else None
            del maps  # before the next ones are computed
            matrix.update(truth, prediction, probabilities)
            if read == 0 and entropy:
                write_entropy(entropy / f"{name}.png", probabilities)
            if read == 0 and each:
                each(name, image, labels, prediction, matrix.latest)
    return [joint_scores(matrix, images) for matrix in matrices]


def load_images(
    images: LabelledImages,
    scoring: ScoringOptions,
    *,
    indices: Sequence[int],
    workers: int,
    pyramid: Pyramid | None = None,
    device: str = "cpu",
) -> Iterator[Sequence]:
    """Image, labels and name of each image at ``indices``, then its further sizes, with a progress bar."""
    square = {"crop": scoring_crop(images, scoring), "mapillary_pad": scoring.mapillary_pad}
    loader = eval_loader(images, workers=workers, indices=indices, pyramid=pyramid, device=device, **square)
    return iter(tqdm(loader, images.spec.name, leave=False, unit="image", disable=rank() > 0))


def scoring_crop(images: LabelledImages, scoring: ScoringOptions) -> int:
    """The side of the square on which the images are scored; 0 where they are scored as stored."""
    return scoring.mapillary_crop if images.spec.scored_square else 0


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


def write_pictures(
    folder: Path, classes: ClassSet, name: str, image: Tensor, labels: Tensor, prediction: Tensor, _: Tensor
) -> None:
    """Write three pictures: the prediction in class colours, over the image, and the wrong pixels in red."""
    pixels, train_ids = image.permute(1, 2, 0).numpy(), prediction.cpu().numpy()
    colours = classes.colourise(train_ids)
    wrong = errors(pixels, labels.numpy(), train_ids, len(classes))
    for kind, picture in (("colours", colours), ("overlay", overlay(pixels, colours)), ("errors", wrong)):
        save_picture(folder / kind / f"{name}.png", picture)


def measured(scores: list[Scores], classes: ClassSet, options: MeasureOptions) -> dict[str, Any]:
    """The results of the measures by name; calibration is over the pixels of all repeats, boundary IoU is a mean."""
    results: dict[str, Any] = {}
    if options.calibration:
        results["calibration"] = calibration_result(sum(each.calibration for each in scores))
    if options.boundary_iou:
        ious = torch.stack([each.boundary_iou for each in scores])
        values = [None if math.isnan(value) else value for value in ious.nanmean(0).tolist()]
        results["boundary_iou"] = {
            "mean": ious.nanmean(1).mean().item(),
            "per_class": dict(zip(classes.names, values, strict=True)),
            "width": f"{options.boundary_iou:g} of the diagonal of each image, at least 1 pixel",
        }
    return results


def calibration_result(sums: Tensor) -> dict[str, Any]:
    """The expected calibration error and its bins; an empty bin has neither confidence nor accuracy (NaN)."""
    pixels, right, confidence = sums
    rows = torch.stack([confidence / pixels, right / pixels, pixels / pixels.sum()], dim=1).tolist()
    bins = [dict(zip(("confidence", "accuracy", "share"), row, strict=True)) for row in rows]
    return {"ece": ((right - confidence).abs().sum() / pixels.sum()).item(), "bins": bins}


def write_entropy(file: Path, probabilities: Tensor) -> None:
    """Write the normalised entropy as a picture, from dark violet (0) to yellow (1)."""
    save_picture(file, heat(normalised_entropy(probabilities).cpu().numpy()))
