"""The categorical memory (Kim et al., CVPR 2022): one unit vector per class.

Every pixel reads it; labelled features write it.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from utils.distributed import all_sum
from utils.precision import at_least_single, full_precision

GATE = 10  # weight of the gate of a residual read: SGD opens it a hundred times as fast as with 1, where it stays shut


class Reading(NamedTuple):
    """The result of reading S memory slots with features (N,C,h,w)."""

    features: Tensor  # N,C,h,w  pixel features refined by the items
    scores: Tensor  # N,S,h,w  cosine between each pixel's feature and each item
    weights: Tensor  # N,S,h,w  share of each item in what a pixel reads; the sum over S is 1


class CategoricalMemory(nn.Module):
    """A memory of ``slots`` items.  The items (S,C) are a buffer: no optimizer changes them.

    ``read`` and ``write`` are pure functions of the items they get, so a meta-learner can look ahead with items that
    are never stored.  The last two options are not in the paper.  ``centred``: pixels and items are compared after the
    mean item was subtracted from both, because rectified features lie within a narrow cone, at cosines of about .8.
    ``residual``: a read adds what is recalled to the features, times a gate that starts at zero.
    """

    def __init__(
        self,
        slots: int,
        *,
        dim: int = 256,
        momentum: float = 0.8,
        read_temp: float = 1.0,
        centred: bool = False,
        residual: bool = False,
    ):
        super().__init__()
        self.momentum, self.read_temp, self.centred = momentum, read_temp, centred
        self.fuse = nn.Sequential(nn.Conv2d(2 * dim, dim, 1, bias=False), nn.BatchNorm2d(dim), nn.ReLU(inplace=True))
        self.update = nn.Sequential(nn.Conv2d(dim, dim, 1, bias=False), nn.BatchNorm2d(dim))
        self.classifier = nn.Linear(dim, slots)
        self.register_buffer("items", F.normalize(torch.rand(slots, dim), dim=1))
        self.gate = nn.Parameter(torch.zeros(dim, 1, 1)) if residual else None

    def compared(self, items: Tensor) -> Tensor:
        """The unit vectors (S,C) by which ``items`` (S,C) are compared with pixels and with each other.

        In a centred memory, an item that is the mean of all becomes zero.
        """
        return F.normalize(items - items.mean(dim=0), dim=1, eps=1e-4) if self.centred else items

    def queries(self, features: Tensor, items: Tensor) -> Tensor:
        """The unit vectors (N,C,h,w) by which the pixels of ``features`` (N,C,h,w) are compared with ``items``."""
        queries = F.normalize(at_least_single(features), dim=1)
        return F.normalize(queries - items.mean(dim=0)[:, None, None], dim=1) if self.centred else queries

    def read(self, features: Tensor, items: Tensor, *, gumbel: bool = False) -> Reading:
        """Refine ``features`` (N,C,h,w) by a mixture of ``items`` (S,C), weighted by softmax(cosine / read_temp).

        With ``gumbel``, Gumbel(0,1) noise is added to the logits (the published read; Jang et al. 2017, eq. 2, tau 1).
        The items are convolved before they are mixed: the result is the same, at half the cost.
        """
        of_query, of_recalled = self.fuse[0].weight.split(items.shape[1], dim=1)
        with full_precision(features.device):
            query, items = self.queries(features, items), self.compared(items)
            scores = torch.einsum("nchw,sc->nshw", query, items)
            logits = scores / self.read_temp
            weights = (logits + gumbel_noise(logits) if gumbel else logits).softmax(dim=1)
            recalled = torch.einsum("sc,oc->os", items, of_recalled.flatten(1))[:, :, None, None]
        fused = F.conv2d(query, of_query) + F.conv2d(weights, recalled)
        refined = self.fuse[1:](fused)
        return Reading(refined if self.gate is None else features + GATE * self.gate * refined, scores, weights)

    def write(self, features: Tensor, labels: Tensor, items: Tensor) -> Tensor:
        """New items (S,C): each class present in ``labels`` (N,H,W) moves its item towards its mean key.

        m_n <- normalise(momentum * m_n + (1 - momentum) * mean of class n's keys, of all processes).  A key is a
        pixel's feature after the residual update network, at unit length.  The items of absent classes stay.
        """
        with full_precision(features.device):
            features = at_least_single(features)
            keys = F.normalize(F.relu(features + self.update(features)), dim=1)
            joint = all_sum(torch.cat(class_sums(keys, labels, len(items)), dim=1))
            sums, mass = joint[:, :-1], joint[:, -1:]
            moved = self.momentum * items + (1 - self.momentum) * sums / mass.clamp_min(1e-12)
            return F.normalize(torch.where(mass > 0, moved, items), dim=1)

    forward = write  # torch.func.functional_call calls ``forward``


def gumbel_noise(like: Tensor) -> Tensor:
    """Independent Gumbel(0,1) samples in the shape of ``like``."""
    return -torch.empty_like(like).exponential_().log()


def class_sums(features: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """For each class the sum (K,C) of ``features`` (N,C,h,w) weighted by its mask, and the mask's total (K,1)."""
    with full_precision(features.device):
        features = at_least_single(features)
        masks = class_masks(labels, features.shape[-2:], classes, features.dtype)
        return torch.einsum("nchw,nkhw->kc", features, masks), masks.sum(dim=(0, 2, 3))[:, None]


def class_masks(labels: Tensor, size: tuple[int, int], classes: int, dtype: torch.dtype) -> Tensor:
    """One-hot ``labels`` (N,H,W), resized bilinearly with aligned corners to ``size`` (h,w): N,K,h,w.

    Each cell reads only four label pixels, so no one-hot map of the full size is made.  Ignored labels (``classes`` or
    more) are in no mask.
    """
    rows, row_weights = corners(labels.shape[-2], size[0], labels.device, dtype)
    cols, col_weights = corners(labels.shape[-1], size[1], labels.device, dtype)
    masks = torch.zeros(len(labels), classes + 1, *size, dtype=dtype, device=labels.device)
    for i in (0, 1):
        for j in (0, 1):
            corner = labels[:, None, rows[i][:, None], cols[j]].long().clamp_max(classes)
            weight = (row_weights[i][:, None] * col_weights[j]).expand(corner.shape)
            masks.scatter_add_(1, corner, weight)
    return masks[:, :classes]


def corners(source: int, target: int, device: torch.device, dtype: torch.dtype) -> tuple[list[Tensor], list[Tensor]]:
    """The two source indices that a linear resize reads for each target pixel, and their weights (``target`` each)."""
    position = torch.arange(target, device=device, dtype=dtype) * ((source - 1) / max(target - 1, 1))
    low = position.long().clamp_max(source - 1)
    far = position - low
    return [low, (low + 1).clamp_max(source - 1)], [1 - far, far]
