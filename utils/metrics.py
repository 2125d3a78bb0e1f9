"""The confusion matrix and the scores computed from it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from utils.distributed import all_sums


@dataclass
class Scores:
    """Scores as fractions: per class (K float64, NaN for a class without labels and predictions) and overall."""

    iou: Tensor
    precision: Tensor
    recall: Tensor
    share: Tensor  # the class's share of the labelled pixels
    accuracy: float
    counts: Tensor  # K,K of the confusion matrix; rows are labels
    calibration: Tensor | None = None  # as utils/calibration.py counts it
    boundary_iou: Tensor | None = None  # K float64, of utils/boundaries.py

    @property
    def mean_iou(self) -> float:
        """The mean over the classes that occur in labels or predictions, as in the release."""
        return self.iou.nanmean().item()

    def mean_iou_above(self, share: float) -> float:
        """The mean over the classes with at least ``share`` of the labelled pixels; NaN if there is none."""
        return self.iou[self.share >= share].mean().item()


class ConfusionMatrix:
    """Counts of (label, prediction) pairs: K,K int64 on ``device``; rows are labels."""

    def __init__(self, num_classes: int, device: torch.device | str = "cpu"):
        self.num_classes = num_classes
        self.counts = torch.zeros(num_classes, num_classes, dtype=torch.int64, device=device)
        self.latest = self.counts  # those of the image that came last
        self.images = 0

    def update(self, labels: Tensor, predictions: Tensor) -> None:
        """Count the pixels of one image (H,W), except those whose label is no class.

        Those are counted in an extra bin that is dropped, because selecting the others by a mask makes a GPU wait.
        """
        pairs = labels.long() * self.num_classes + predictions
        pairs = torch.where(labels < self.num_classes, pairs, self.counts.numel()).flatten()
        counts = self.counts.new_zeros(self.counts.numel() + 1)
        counts.scatter_add_(0, pairs, counts.new_ones(()).expand_as(pairs))
        self.latest = counts[:-1].view_as(self.counts)
        self.counts += self.latest
        self.images += 1

    def gather(self) -> None:
        """Replace the counts by their sums over all processes."""
        own = [self.counts, torch.tensor(self.images, device=self.counts.device)]
        self.counts, images = all_sums(own, like=own)
        self.images = int(images)

    def scores(self) -> Scores:
        counts = self.counts.cpu().double()
        hits, labelled, predicted = counts.diag(), counts.sum(1), counts.sum(0)
        total = counts.sum()
        return Scores(
            iou=ious(counts),
            precision=hits / predicted,
            recall=hits / labelled,
            share=labelled / total,
            accuracy=(hits.sum() / total).item(),
            counts=counts,
        )


def ious(counts: Tensor) -> Tensor:
    """IoU of each class (K), on the same device, from a confusion matrix (K,K); NaN for a class that does not occur."""
    hits = counts.diag()
    return hits / (counts.sum(0) + counts.sum(1) - hits)
