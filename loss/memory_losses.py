"""The losses of the categorical memory (Kim et al., CVPR 2022; constants as in the authors' release)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from loss.segmentation import cross_entropy


def divergence_loss(items: Tensor) -> Tensor:
    """Memory divergence: the mean positive cosine between different ``items`` (S,C, rows of unit length).

    L_div = sum_{a != b} max(0, m_a . m_b) / (S (S - 1))
    """
    cosine = (items @ items.T).clamp_min(0)
    slots = len(items)
    return (cosine.sum() - cosine.trace()) / (slots * (slots - 1))


def cohesion_loss(scores: Tensor, labels: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Feature cohesion: each pixel should be closest to the item of its own class.

    L_coh = cross-entropy of ``scores`` (N,S,h,w) / temperature, resized to ``labels`` (N,H,W).
    """
    return cross_entropy(scores / temperature, labels)


def classification_loss(logits: Tensor) -> Tensor:
    """The classifier should recognise item n as class n: mean cross-entropy of ``logits`` (S,S)."""
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))
