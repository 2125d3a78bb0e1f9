"""How alive a memory is, in a few figures: a memory whose items are all alike tells the decoder nothing."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from loss.segmentation import nearest
from network.categorical_memory import CategoricalMemory
from utils.precision import at_least_single

COLLAPSED = 0.8  # mean cosine between items, from which a read is nearly a constant
UNIFORM = 0.995  # entropy of a read, from which it is nearly a constant.  It notices a centred memory, too


class ReadSums(NamedTuple):
    """Sums over pixels that were read without noise, float64 on the CPU.  Those of several images may be added."""

    totals: Tensor  # 2  the number of pixels; the entropy of their read weights
    classes: Tensor  # 3,S  of each class's pixels: their number; how many are nearest to their item; its read weight
    moments: Tensor  # 8,C  values and squares of four maps: from the items, fused, of the read, for the decoder


@torch.no_grad()
def health_of(memory: CategoricalMemory, sums: ReadSums) -> dict[str, float]:
    """Figures of the items, and of the reads without noise that were summed.

    - ``item_cosine``, ``item_cosine_max``: mean and largest cosine between different items, as they are compared.  In a
      centred memory the mean is about -1 / (S - 1), whatever the items.
    - ``read_entropy``: of the read weights, mean over the pixels, as a share of its maximum log S.
    - ``own_item``: share of the labelled pixels whose nearest item is that of their own class.
    - ``item_accuracy``: share of the items that the memory's classifier recognises.
    - ``recalled``: share of the variance of what the decoder sees that comes from the items.  It is their share of the
      fused features, before the norm; of a residual read, times the share of the gated features in their sum.
    """
    items, (pixels, entropy), (labelled, own, _) = memory.compared(memory.items), sums.totals, sums.classes
    cosine = (items @ items.T)[~torch.eye(len(items), dtype=torch.bool, device=items.device)]
    guesses = memory.classifier(items).argmax(dim=1)
    values, squares = (sums.moments / pixels).view(4, 2, -1).unbind(dim=1)
    of_items, fused, of_read, seen = (squares - values**2).sum(dim=1)
    values = {
        "item_cosine": cosine.mean(),
        "item_cosine_max": cosine.max(),
        "read_entropy": entropy / pixels / math.log(len(items)),
        "own_item": own.sum() / labelled.sum(),
        "item_accuracy": (guesses == torch.arange(len(items), device=items.device)).float().mean(),
        "recalled": of_items / fused * of_read / seen,
    }
    return {name: value.item() for name, value in values.items()}


def dead(values: Mapping[str, float]) -> bool:
    """Whether all pixels read nearly the same, by the figures of ``health_of``."""
    return values["item_cosine"] > COLLAPSED or values["read_entropy"] > UNIFORM


@torch.no_grad()
def read_sums(memory: CategoricalMemory, features: Tensor, labels: Tensor) -> ReadSums:
    """The sums over the pixels of ``features`` (N,C,h,w) with ``labels`` (N,H,W)."""
    items, query = memory.compared(memory.items), memory.queries(features, memory.items)
    features = at_least_single(features)
    reading = memory.read(features, memory.items)
    of_query, of_recalled = memory.fuse[0].weight.split(items.shape[1], dim=1)
    recalled = F.conv2d(F.conv2d(reading.weights, items.T[:, :, None, None]), of_recalled)
    fused = F.conv2d(query, of_query) + recalled
    rows, columns = (nearest(labels.shape[axis], features.shape[axis], labels.device) for axis in (-2, -1))
    coarse = labels[:, rows[:, None], columns]
    slots = torch.arange(len(items), device=items.device)[:, None, None]
    masks = (coarse[:, None] == slots).to(reading.weights)  # N,S,h,w
    nearest_item = reading.scores.argmax(dim=1, keepdim=True) == slots
    weights = reading.weights.clamp_min(1e-12)
    entropy = -(weights * weights.log()).sum()
    classes = [(masks * x).sum(dim=(0, 2, 3)) for x in (1, nearest_item, reading.weights)]
    count = coarse.numel()
    moments = []
    of_read = reading.features if memory.gate is None else reading.features - features
    for x in (recalled, fused, of_read, reading.features):
        mean, variance = (y.cpu().double() for y in (x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3), correction=0)))
        moments += [count * mean, count * (variance + mean**2)]
    totals = torch.tensor([count, entropy.item()], dtype=torch.float64)
    return ReadSums(totals, torch.stack(classes).cpu().double(), torch.stack(moments))
