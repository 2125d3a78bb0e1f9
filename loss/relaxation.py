"""Boundary label relaxation (Zhu et al., Improving semantic segmentation via video propagation and label relaxation,
CVPR 2019)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from datasets.labels import IGNORE
from loss.segmentation import per_valid_pixel
from network.deeplab import resize
from utils.precision import at_least_single


def relaxed_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    whole: Tensor | None = None,
    strict: Sequence[int] = (),
    weights: Tensor | None = None,
) -> Tensor:
    """Cross-entropy where a pixel may belong to any class that occurs in its 3 x 3 neighbourhood.

    L = -log sum_{c in N} p_c (eq. 2), where N are the classes of the neighbourhood; ignored pixels neither add one nor
    count.  ``logits`` (N,K,h,w) are resized to ``labels`` (N,H,W).  A pixel of one of the classes ``strict`` must have
    its own class.  ``whole`` and ``weights`` are those of ``cross_entropy``; a pixel's weight is the mean over N.
    """
    logits = resize(at_least_single(logits), labels.shape[-2:])
    allowed = classes_nearby(labels, logits.shape[1], strict)
    allowed |= (labels == IGNORE)[:, None]  # all classes: loss and gradient are 0; without any class they are NaN
    losses = logits.logsumexp(dim=1) - logits.masked_fill(~allowed, -torch.inf).logsumexp(dim=1)
    if weights is not None:
        losses = losses * mean_weights(weights, allowed)
    return per_valid_pixel(losses.sum(), labels if whole is None else whole)


def classes_nearby(labels: Tensor, classes: int, strict: Sequence[int] = ()) -> Tensor:
    """Which classes occur in the 3 x 3 pixels around each pixel of ``labels`` (N,H,W): N,K,H,W bool.

    A pixel of a class in ``strict`` has only its own class.
    """
    own = labels[:, None] == torch.arange(classes, device=labels.device)[:, None, None]
    rows = own.clone()
    rows[..., 1:] |= own[..., :-1]
    rows[..., :-1] |= own[..., 1:]
    nearby = rows.clone()
    nearby[..., 1:, :] |= rows[..., :-1, :]
    nearby[..., :-1, :] |= rows[..., 1:, :]
    for kept in strict:
        nearby = torch.where(own[:, kept, None], own, nearby)
    return nearby


def mean_weights(weights: Tensor, allowed: Tensor) -> Tensor:
    """The mean (N,H,W) of the ``weights`` (N,K or 1,K) of the ``allowed`` classes (N,K,H,W)."""
    total = torch.zeros_like(allowed[:, 0], dtype=weights.dtype)
    for index in range(weights.shape[1]):  # a product would be a map of floats per class
        total += weights[:, index, None, None] * allowed[:, index]
    return total / allowed.sum(dim=1)
