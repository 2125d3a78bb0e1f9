"""Pixel-wise losses that a crop without a single valid pixel cannot turn into NaN."""

import torch.nn.functional as F
from torch import Tensor

from datasets.labels import IGNORE
from utils.precision import at_least_single


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of ``logits`` (N,K,H,W) averaged over the pixels of ``labels`` (N,H,W) that are not 255."""
    total = F.cross_entropy(at_least_single(logits), labels, ignore_index=IGNORE, reduction="sum")
    return total / (labels != IGNORE).sum().clamp_min(1)


def auxiliary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The same at the resolution of ``logits`` (N,K,h,w), the labels (N,H,W) resized to nearest."""
    labels = F.interpolate(labels[:, None].float(), logits.shape[-2:])[:, 0].long()
    return cross_entropy(logits, labels)
