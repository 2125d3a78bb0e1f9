"""What is measured of predictions besides the confusion matrix: calibration, borders and entropy."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datasets.labels import ClassSet
from engine.options.evaluation_options import MeasureOptions
from utils.boundaries import BoundaryMatrix
from utils.calibration import Calibration, normalised_entropy
from utils.distributed import all_sum
from utils.metrics import ConfusionMatrix, Scores
from utils.pictures import heat, save_picture


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
