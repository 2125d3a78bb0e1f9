"""Pixel-wise losses that a crop without a single valid pixel cannot turn into NaN."""

import torch
import torch.nn.functional as F
from torch import Tensor

from datasets.labels import IGNORE
from loss.reduction import Reduce, alone, per_valid_pixel
from loss.resized import at_size_of, resized_cross_entropy
from loss.weighting import Weigh, weights_of_pixels
from utils.precision import at_least_single


def cross_entropy(
    logits: Tensor, labels: Tensor, *, whole: Tensor | None = None, weigh: Weigh | None = None, reduce: Reduce = alone
) -> Tensor:
    """Cross-entropy of ``logits`` (N,K,h,w), resized to ``labels`` (N,H,W) if they differ in size, averaged over the
    pixels that are not 255.

    The sum, of which ``weigh`` may weight the classes, is this process's own, the number of pixels that of all
    processes: the average over all is the sum of what each of them returns.  ``whole`` (M,H,W) are the labels of the
    batch of which these are a part: pixels are counted, and batches weighed, in all of them.
    """
    whole = labels if whole is None else whole
    logits = at_least_single(logits)
    if weigh is None and logits.shape[-2:] != labels.shape[-2:]:
        total = resized_cross_entropy(logits, labels)
    elif weigh is None:
        total = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")
    else:
        losses = F.cross_entropy(at_size_of(labels, logits), labels, ignore_index=IGNORE, reduction="none")
        total = (weights_of_pixels(weigh(labels, whole), labels) * losses).sum()
    return per_valid_pixel(total, whole, reduce)


def auxiliary_cross_entropy(
    logits: Tensor, labels: Tensor, *, whole: Tensor | None = None, weigh: Weigh | None = None, reduce: Reduce = alone
) -> Tensor:
    """The same at the resolution of ``logits`` (N,K,h,w), the labels (N,H,W) resized to nearest."""
    rows, cols = (
        nearest(source, target, labels.device)
        for source, target in zip(labels.shape[-2:], logits.shape[-2:], strict=True)
    )
    labels, whole = (None if x is None else x[:, rows[:, None], cols] for x in (labels, whole))
    return cross_entropy(logits, labels, whole=whole, weigh=weigh, reduce=reduce)


def nearest(source: int, target: int, device: torch.device) -> Tensor:
    """The indices (``target``, int64) that torch's nearest resize reads of a side of ``source`` pixels.

    Labels are read there alone: a resize would first want all of them as floats.
    """
    return F.interpolate(torch.arange(source, dtype=torch.float32, device=device)[None, None], target)[0, 0].long()
