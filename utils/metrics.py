"""The confusion matrix and what is read off it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from utils.distributed import all_sums


@dataclass
class Scores:
    """Per class (K float64, NaN where a class has neither labels nor predictions) and overall, all as fractions."""

    iou: Tensor
    precision: Tensor
    recall: Tensor
    share: Tensor  # of the labelled pixels
    accuracy: float

    @property
    def mean_iou(self) -> float:
        """Over the classes that occur in labels or predictions, the rule of the release and its relatives."""
        return self.iou.nanmean().item()

    def mean_iou_above(self, share: float) -> float:
        """Over the classes that have at least ``share`` of the labelled pixels; NaN without such a class."""
        return self.iou[self.share >= share].mean().item()


class ConfusionMatrix:
    """Counts of (label, prediction) pairs, K,K int64 on the device where the pixels are; rows are labels."""

    def __init__(self, num_classes: int, device: torch.device | str = "cpu"):
        self.num_classes = num_classes
        self.counts = torch.zeros(num_classes, num_classes, dtype=torch.int64, device=device)
        self.images = 0

    def update(self, labels: Tensor, predictions: Tensor) -> None:
        """Count one image; pixels whose label (H,W) is no class are passed over.

        They are counted in a place of their own: to choose the others by a mask would make a GPU wait.
        """
        pairs = labels.long() * self.num_classes + predictions
        pairs = torch.where(labels < self.num_classes, pairs, self.counts.numel()).flatten()
        found = self.counts.new_zeros(self.counts.numel() + 1)
        found.scatter_add_(0, pairs, found.new_ones(()).expand_as(pairs))
        self.counts += found[:-1].view_as(self.counts)
        self.images += 1

    def gather(self) -> None:
        """Add up what all processes have counted, each for itself so far."""
        images = torch.tensor(self.images, device=self.counts.device)
        counted = [self.counts, images]
        self.counts, images = all_sums(counted, like=counted)
        self.images = int(images)

    def scores(self) -> Scores:
        counts = self.counts.cpu().double()
        hits, labelled, predicted = counts.diag(), counts.sum(1), counts.sum(0)
        total = counts.sum()
        return Scores(
            iou=hits / (labelled + predicted - hits),
            precision=hits / predicted,
            recall=hits / labelled,
            share=labelled / total,
            accuracy=(hits.sum() / total).item(),
        )
