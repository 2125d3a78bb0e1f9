"""Pixel-wise losses, and the class weights in them.  Without a single valid pixel a loss is 0, not NaN."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from datasets.labels import IGNORE
from loss.resized_cross_entropy import resized_cross_entropy, summed_cross_entropy
from network.deeplab import resize
from utils.distributed import all_sum
from utils.precision import at_least_single

# From DeepLab (Chen et al.) for Cityscapes; the authors' release uses them too.
CITYSCAPES_WEIGHTS = (
    0.8373, 0.9180, 0.8660, 1.0345, 1.0166, 0.9969, 0.9754, 1.0489, 0.8786, 1.0023, 0.9539, 0.9843, 1.1116, 0.9037,
    1.0865, 1.0955, 1.0865, 1.1529, 1.0507,
)  # fmt: skip


def cross_entropy(
    logits: Tensor, labels: Tensor, *, whole: Tensor | None = None, weights: Tensor | None = None
) -> Tensor:
    """This process's share of the cross-entropy, averaged over the valid pixels of all processes.

    ``logits`` (N,K,h,w) are resized to ``labels`` (N,H,W).  ``weights`` (N,K or 1,K) are those of the classes in each
    image.  Valid pixels are counted in ``whole`` (M,H,W), the labels of all parts of the batch, if there are parts.
    """
    logits = at_least_single(logits)
    if weights is not None:
        losses = F.cross_entropy(resize(logits, labels.shape[-2:]), labels, ignore_index=IGNORE, reduction="none")
        classes = labels.flatten(1).clamp(max=weights.shape[1] - 1)  # the loss of ignored pixels is 0
        total = (weights.expand(len(labels), -1).gather(1, classes).view_as(labels) * losses).sum()
    elif logits.shape[-2:] == labels.shape[-2:]:
        total = summed_cross_entropy(logits, labels)
    else:
        total = resized_cross_entropy(logits, labels)
    return per_valid_pixel(total, labels if whole is None else whole)


def auxiliary_cross_entropy(
    logits: Tensor, labels: Tensor, *, whole: Tensor | None = None, weights: Tensor | None = None
) -> Tensor:
    """The same at the resolution of ``logits`` (N,K,h,w), to which the labels are resized, nearest neighbour."""
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

    If ``total`` belongs to a part of a batch, ``labels`` are those of the whole batch.
    """
    return total / all_sum((labels != IGNORE).sum()).clamp_min(1)


@cache
def class_weights(device: torch.device) -> Tensor:
    """Fixed weights (1,19) of the Cityscapes classes.  A device gets them only once, because it waits for each copy."""
    return torch.tensor([CITYSCAPES_WEIGHTS], device=device)


def class_pixels(labels: Tensor, classes: int) -> Tensor:
    """How many pixels of each class each of ``labels`` (N,H,W int64) has: N,K."""
    bins = labels.flatten(1).clamp(max=classes)  # the last bin: ignored
    counts = bins.new_zeros(len(bins), classes + 1).scatter_add_(1, bins, bins.new_ones(1, 1).expand_as(bins))
    return counts[:, :classes]


def image_weights(
    labels: Tensor, whole: Tensor | None = None, *, classes: int, bound: float = 1.0, joint: bool = False
) -> Tensor:
    """Weights (N,K) that are higher for rare classes, from ``labels`` (N,H,W).

    w_c = 1 + bound (1 - h_c) for each class that occurs, 1 for the others; h_c is the class's share of the valid pixels
    of the image, or with ``joint`` of the ``whole`` batch of all processes: 1,K (Zhu et al., CVPR 2019).
    """
    counts = class_pixels(whole if joint and whole is not None else labels, classes)
    if joint:
        counts = all_sum(counts.sum(dim=0, keepdim=True))
    share = counts / counts.sum(dim=1, keepdim=True).clamp_min(1)
    return 1 + bound * (1 - share) * (counts > 0)
