"""How alive a memory is, in a few figures: a memory whose items are all alike tells the decoder nothing."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from datasets.labels import IGNORE
from loss.segmentation import nearest
from network.categorical_memory import CategoricalMemory
from utils.precision import at_least_single

COLLAPSED = 0.8  # mean cosine between items, from which a read is nearly a constant


@torch.no_grad()
def memory_health(memory: CategoricalMemory, features: Tensor, labels: Tensor) -> dict[str, float]:
    """Figures of the items and of a read without noise, of ``features`` (N,C,h,w) with ``labels`` (N,H,W).

    - ``item_cosine``, ``item_cosine_max``: mean and largest cosine between different items.
    - ``read_entropy``: of the read weights, mean over the pixels, as a share of its maximum log S.
    - ``own_item``: share of the labelled pixels whose nearest item is that of their own class.
    - ``item_accuracy``: share of the items that the memory's classifier recognises.
    - ``recalled``: share of the variance of the fused features, before their norm, that comes from the items.
    """
    items = memory.items
    cosine = cosines(items)
    features = at_least_single(features)
    reading = memory.read(features, items)
    weights = reading.weights.clamp_min(1e-12)
    of_query, of_recalled = memory.fuse[0].weight.split(items.shape[1], dim=1)
    query = F.conv2d(F.normalize(features, dim=1), of_query)
    recalled = F.conv2d(F.conv2d(reading.weights, items.T[:, :, None, None]), of_recalled)
    spread, whole = (x.var(dim=(0, 2, 3)).sum() for x in (recalled, query + recalled))
    rows, columns = (nearest(labels.shape[axis], features.shape[axis], labels.device) for axis in (-2, -1))
    coarse = labels[:, rows[:, None], columns]
    labelled = coarse != IGNORE
    own = (reading.scores.argmax(dim=1) == coarse)[labelled]
    guesses = memory.classifier(items).argmax(dim=1)
    values = {
        "item_cosine": cosine.mean(),
        "item_cosine_max": cosine.max(),
        "read_entropy": -(weights * weights.log()).sum(dim=1).mean() / math.log(len(items)),
        "own_item": own.float().mean(),
        "item_accuracy": (guesses == torch.arange(len(items), device=items.device)).float().mean(),
        "recalled": spread / whole,
    }
    return dict(zip(values, torch.stack(list(values.values())).tolist(), strict=True))


def cosines(items: Tensor) -> Tensor:
    """The cosines between different items (S,C)."""
    return (items @ items.T)[~torch.eye(len(items), dtype=torch.bool, device=items.device)]
