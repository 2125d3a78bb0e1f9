"""The categorical memory: one unit vector per class, read by every pixel, written from labelled features."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from utils.precision import at_least_single, full_precision


class Reading(NamedTuple):
    """What the memory answered to a feature map (N,C,h,w), for S slots."""

    features: Tensor  # N,C,h,w  pixel features refined by what was recalled
    scores: Tensor  # N,S,h,w  cosine of every pixel feature with every item
    weights: Tensor  # N,S,h,w  how much each pixel takes from each item (sums to 1 over S)


class CategoricalMemory(nn.Module):
    """Items (S,C) are a buffer: they move with ``.to()``, save with ``state_dict()``, and no optimizer steps them.

    ``read`` and ``write`` are pure: they take the items and return results, and nothing changes until ``items`` is
    assigned.  A meta-learner can therefore look ahead with items that were never stored.
    """

    def __init__(self, slots: int, *, dim: int = 256, momentum: float = 0.8, read_temp: float = 1.0):
        super().__init__()
        self.momentum, self.read_temp = momentum, read_temp
        self.fuse = nn.Sequential(nn.Conv2d(2 * dim, dim, 1, bias=False), nn.BatchNorm2d(dim), nn.ReLU(inplace=True))
        self.update = nn.Sequential(nn.Conv2d(dim, dim, 1, bias=False), nn.BatchNorm2d(dim))
        self.classifier = nn.Linear(dim, slots)
        self.register_buffer("items", F.normalize(torch.rand(slots, dim), dim=1))

    def read(self, features: Tensor, items: Tensor, *, gumbel: bool = False) -> Reading:
        """Refine ``features`` (N,C,h,w) by a mixture of ``items`` (S,C), weighted by softmax(cosine / read_temp).

        With ``gumbel``, Gumbel(0,1) noise is added to the logits (the published read; Jang et al. 2017, eq. 2, tau 1).
        The convolution over a pixel's feature and what it recalls, a mixture of items, is that over the feature plus
        the same mixture of convolved items, which costs half.
        """
        of_query, of_recalled = self.fuse[0].weight.split(items.shape[1], dim=1)
        with full_precision(features.device):
            query = F.normalize(at_least_single(features), dim=1)
            scores = torch.einsum("nchw,sc->nshw", query, items)
            logits = scores / self.read_temp
            weights = (logits + gumbel_noise(logits) if gumbel else logits).softmax(dim=1)
            recalled = torch.einsum("sc,oc->os", items, of_recalled.flatten(1))[:, :, None, None]
        fused = F.conv2d(query, of_query) + F.conv2d(weights, recalled)
        return Reading(self.fuse[1:](fused), scores, weights)

    def write(
        self,
        features: Tensor,
        labels: Tensor,
        items: Tensor,
        *,
        reduce: Callable[[Tensor], Tensor] = lambda x: x,
    ) -> Tensor:
        """``items`` (S,C) moved towards the mean key of every class present in ``labels`` (N,H,W); others stay.

        m_n <- normalise(momentum * m_n + (1 - momentum) * mean of class n's keys), a key being a pixel's feature
        after the residual update network, at unit length.  ``reduce`` sums over all processes, each of which has a part
        of the keys.
        """
        with full_precision(features.device):
            features = at_least_single(features)
            keys = F.normalize(F.relu(features + self.update(features)), dim=1)
            joint = reduce(torch.cat(class_sums(keys, labels, len(items)), dim=1))
            sums, mass = joint[:, :-1], joint[:, -1:]
            moved = self.momentum * items + (1 - self.momentum) * sums / mass.clamp_min(1e-12)
            return F.normalize(torch.where(mass > 0, moved, items), dim=1)

    forward = write  # what torch.func.functional_call calls


def gumbel_noise(like: Tensor) -> Tensor:
    """Independent Gumbel(0,1) samples in the shape of ``like``."""
    return -torch.empty_like(like).exponential_().log()


def class_sums(features: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Per class: the sum of ``features`` (N,C,h,w) weighted by its mask, and the weights' total; (K,C) and (K,1)."""
    with full_precision(features.device):
        features = at_least_single(features)
        masks = class_masks(labels, features.shape[-2:], classes, features.dtype)
        return torch.einsum("nchw,nkhw->kc", features, masks), masks.sum(dim=(0, 2, 3))[:, None]


def class_masks(labels: Tensor, size: tuple[int, int], classes: int, dtype: torch.dtype) -> Tensor:
    """One-hot ``labels`` (N,H,W) resized bilinearly with aligned corners to ``size`` (h,w): N,K,h,w.

    Only the four label pixels that each cell reads are looked at, not the whole map: the result is that of one-hot
    and resize, at a fraction of the cost.  Labels of ``classes`` or more (the ignored ones) count nowhere.
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
    """The two source indices (each of shape ``target``) that a bilinear resize reads per cell, and their weights."""
    position = torch.arange(target, device=device, dtype=dtype) * ((source - 1) / max(target - 1, 1))
    low = position.long().clamp_max(source - 1)
    far = position - low
    return [low, (low + 1).clamp_max(source - 1)], [1 - far, far]
