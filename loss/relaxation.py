"""Boundary label relaxation (Zhu et al., Improving semantic segmentation via video propagation and label relaxation,
CVPR 2019)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from datasets.labels import IGNORE
from loss.reduction import Reduce, alone, per_valid_pixel
from loss.resized import at_size_of
from loss.weighting import Weigh
from utils.precision import at_least_single


def relaxed_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    whole: Tensor | None = None,
    strict: Sequence[int] = (),
    weigh: Weigh | None = None,
    reduce: Reduce = alone,
) -> Tensor:
    """Cross-entropy in which a pixel may be of any class that occurs next to it.

    L = -log sum_{c in N} p_c (eq. 2): ``logits`` N,K,h,w, resized to ``labels`` (N,H,W) if they differ in size; N the
    classes of ``labels`` in the 3 x 3 pixels around a pixel, of which ignored ones are none.  A pixel of one of the
    classes ``strict`` must be of that class, and an ignored pixel does not count whatever is around it.  Weights by
    ``weigh`` are averaged over N.  ``whole`` is that of ``cross_entropy``.  At its peak this takes 107 bytes per pixel
    more than plain cross-entropy of the resized logits in float32 (335 instead of 228, 19 classes).
    """
    whole = labels if whole is None else whole
    logits, ignored = at_size_of(labels, at_least_single(logits)), labels == IGNORE
    allowed = classes_nearby(labels, logits.shape[1], strict)
    allowed |= ignored[:, None]  # all classes: no loss and no gradient, where no class would give NaN
    losses = logits.logsumexp(dim=1) - logits.masked_fill(~allowed, -torch.inf).logsumexp(dim=1)
    if weigh is not None:
        losses = losses * mean_weights(weigh(labels, whole), allowed)
    return per_valid_pixel(losses.sum(), whole, reduce)


def classes_nearby(labels: Tensor, classes: int, strict: Sequence[int] = ()) -> Tensor:
    """Which classes occur in the 3 x 3 pixels around each pixel: N,K,H,W bool from ``labels`` (N,H,W).

    Where the pixel is of a class in ``strict``, its own alone.  Takes up to three maps of one byte per pixel and class.
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
    """The mean (N,H,W) of the ``weights`` (N,K) of the classes that are ``allowed`` (N,K,H,W), one class at a time, so
    that no map of numbers per pixel and class is made."""
    total = torch.zeros_like(allowed[:, 0], dtype=weights.dtype)
    for index in range(weights.shape[1]):
        total += weights[:, index, None, None] * allowed[:, index]
    return total / allowed.sum(dim=1)
