"""Pixel-wise losses that a crop without a single valid pixel cannot turn into NaN."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from datasets.labels import IGNORE
from utils.precision import at_least_single

Reduce = Callable[[Tensor], Tensor]  # sums a tensor over all processes


def alone(x: Tensor) -> Tensor:
    """The sum over all processes where there is but one."""
    return x


def cross_entropy(logits: Tensor, labels: Tensor, *, reduce: Reduce = alone) -> Tensor:
    """Cross-entropy of ``logits`` (N,K,H,W) averaged over the pixels of ``labels`` (N,H,W) that are not 255.

    The sum is this process's own, the number of pixels that of all processes: the average over all is the sum of what
    each of them returns.
    """
    total = F.cross_entropy(at_least_single(logits), labels, ignore_index=IGNORE, reduction="sum")
    return total / reduce((labels != IGNORE).sum()).clamp_min(1)


def auxiliary_cross_entropy(logits: Tensor, labels: Tensor, *, reduce: Reduce = alone) -> Tensor:
    """The same at the resolution of ``logits`` (N,K,h,w), the labels (N,H,W) resized to nearest."""
    labels = F.interpolate(labels[:, None].float(), logits.shape[-2:])[:, 0].long()
    return cross_entropy(logits, labels, reduce=reduce)
