"""Pixel-wise losses.  Without a single valid pixel they are 0, not NaN."""

import torch
import torch.nn.functional as F
from torch import Tensor

from datasets.labels import IGNORE
from loss.resized_cross_entropy import resized_cross_entropy, summed_cross_entropy
from loss.weighting import weights_of_pixels
from network.deeplab import resize
from utils.distributed import all_sum
from utils.precision import at_least_single


def cross_entropy(
    logits: Tensor, labels: Tensor, *, whole: Tensor | None = None, weights: Tensor | None = None
) -> Tensor:
    """This process's share of the cross-entropy, averaged over the valid pixels of all processes.

    ``logits`` (N,K,h,w) are resized to ``labels`` (N,H,W).  ``weights`` (N,K or 1,K) are those of the classes in each
    image.  If the batch is processed in parts, ``whole`` (M,H,W) are the labels of all parts: valid pixels are counted
    in them.
    """
    logits = at_least_single(logits)
    if weights is not None:
        losses = F.cross_entropy(resize(logits, labels.shape[-2:]), labels, ignore_index=IGNORE, reduction="none")
        total = (weights_of_pixels(weights, labels) * losses).sum()
    elif logits.shape[-2:] == labels.shape[-2:]:
        total = summed_cross_entropy(logits, labels)
    else:
        total = resized_cross_entropy(logits, labels)
    return per_valid_pixel(total, labels if whole is None else whole)


def auxiliary_cross_entropy(
    logits: Tensor, labels: Tensor, *, whole: Tensor | None = None, weights: Tensor | None = None
) -> Tensor:
    """The same at the resolution of ``logits`` (N,K,h,w): the labels are resized to it, nearest neighbour."""
    rows = nearest(labels.shape[-2], logits.shape[-2], labels.device)
    columns = nearest(labels.shape[-1], logits.shape[-1], labels.device)
    labels, whole = (None if x is None else x[:, rows[:, None], columns] for x in (labels, whole))
    return cross_entropy(logits, labels, whole=whole, weights=weights)


def nearest(source: int, target: int, device: torch.device) -> Tensor:
    """The indices (``target``, int64) that torch's nearest resize reads along a side of ``source`` pixels.

    Reading labels by index avoids a copy of all labels as floats, which torch's resize needs.
    """
    return F.interpolate(torch.arange(source, dtype=torch.float32, device=device)[None, None], target)[0, 0].long()


def per_valid_pixel(total: Tensor, labels: Tensor) -> Tensor:
    """This process's ``total`` divided by the number of valid pixels (not 255) in the ``labels`` of all processes.

    The sum of the results over all processes is the average over all valid pixels; without any it is 0, not NaN.
    If ``total`` belongs to a part of a batch, ``labels`` are those of the whole batch.
    """
    return total / all_sum((labels != IGNORE).sum()).clamp_min(1)
