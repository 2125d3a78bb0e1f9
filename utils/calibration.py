"""How sure a network is: the expected calibration error (Guo et al., 2017) and the entropy of a prediction."""

import math

import torch
from torch import Tensor

BINS = 15
BITS = 24  # confidences are added as whole multiples of 2^-24: in any order, these have the same sum


class Calibration:
    """Pixels, right pixels and confidence in bins: 3,15 int64 on ``device``.

    Confidence is the largest probability of a pixel.  Bin m, counted from 1, has those above (m-1)/15 and up to m/15.
    """

    def __init__(self, device: torch.device | str = "cpu"):
        self.sums = torch.zeros(3, BINS, dtype=torch.int64, device=device)

    def update(self, labels: Tensor, predictions: Tensor, probabilities: Tensor) -> None:
        """Count the pixels of one image (H,W; probabilities K,H,W), except those whose label is no class."""
        units = (probabilities.amax(0) * 2**BITS).round().long().clamp(1, 2**BITS)
        bins = torch.where(labels < len(probabilities), (units * BINS - 1) >> BITS, BINS)  # the last one is dropped
        values = torch.stack([torch.ones_like(units), (labels == predictions).long(), units])
        sums = self.sums.new_zeros(3, BINS + 1)
        self.sums += sums.scatter_add_(1, bins.flatten().expand(3, -1), values.flatten(1))[:, :BINS]

    def scores(self) -> Tensor:
        """The sums as numbers: 3,15 float64."""
        return self.sums.cpu().double() / torch.tensor([[1.0], [1.0], [2.0**BITS]], dtype=torch.float64)


def normalised_entropy(probabilities: Tensor) -> Tensor:
    """The entropy of each pixel (H,W) as a share of its maximum, log K; probabilities are K,H,W."""
    return (torch.special.entr(probabilities).sum(0) / math.log(len(probabilities))).clamp(0, 1)
