"""Class weights for pixel-wise losses: fixed ones, or weights computed from the classes in an image."""

from functools import cache

import torch
from torch import Tensor

from utils.distributed import all_sum

# From DeepLab (Chen et al.) for Cityscapes; the authors' release uses them too.
CITYSCAPES_WEIGHTS = (
    0.8373, 0.9180, 0.8660, 1.0345, 1.0166, 0.9969, 0.9754, 1.0489, 0.8786, 1.0023, 0.9539, 0.9843, 1.1116, 0.9037,
    1.0865, 1.0955, 1.0865, 1.1529, 1.0507,
)  # fmt: skip


@cache
def class_weights(device: torch.device) -> Tensor:
    """Fixed weights (1,19) of the Cityscapes classes.  A device gets them only once, because it waits for each copy."""
    return torch.tensor([CITYSCAPES_WEIGHTS], device=device)


def image_weights(
    labels: Tensor, whole: Tensor | None = None, *, classes: int, bound: float = 1.0, joint: bool = False
) -> Tensor:
    """Weights (N,K) that are higher for rare classes, from ``labels`` (N,H,W).

    w_c = 1 + bound (1 - h_c) for each class that occurs, 1 for the others; h_c is the class's share of the valid pixels
    of the image, or with ``joint`` of the ``whole`` batch of all processes: 1,K (Zhu et al., CVPR 2019).
    """
    bins = (whole if joint and whole is not None else labels).flatten(1).clamp(max=classes)  # the last bin: ignored
    counts = bins.new_zeros(len(bins), classes + 1).scatter_add_(1, bins, bins.new_ones(1, 1).expand_as(bins))
    counts = counts[:, :classes]
    if joint:
        counts = all_sum(counts.sum(dim=0, keepdim=True))
    share = counts / counts.sum(dim=1, keepdim=True).clamp_min(1)
    return 1 + bound * (1 - share) * (counts > 0)


def weights_of_pixels(weights: Tensor, labels: Tensor) -> Tensor:
    """The weight (N,H,W) of each pixel's class; the value at ignored pixels is meaningless."""
    last = weights.shape[1] - 1
    return weights.expand(len(labels), -1).gather(1, labels.flatten(1).clamp(max=last)).view_as(labels)
