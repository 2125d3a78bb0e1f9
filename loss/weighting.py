"""Class weights for pixel-wise losses: the same for all images, or from the classes that an image shows."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from loss.reduction import Reduce, alone

# labels N,H,W, and those of the whole batch of which they are a part, M,H,W -> the weights of the K classes in each
# image, N,K
Weigh = Callable[[Tensor, Tensor], Tensor]

# Those of DeepLab (Chen et al.) for Cityscapes, which the authors' release uses too.
CITYSCAPES_WEIGHTS = (
    0.8373, 0.9180, 0.8660, 1.0345, 1.0166, 0.9969, 0.9754, 1.0489, 0.8786, 1.0023, 0.9539, 0.9843, 1.1116, 0.9037,
    1.0865, 1.0955, 1.0865, 1.1529, 1.0507,
)  # fmt: skip


def class_weights(labels: Tensor, whole: Tensor | None = None) -> Tensor:
    """The weights of the 19 classes on Cityscapes, N,19, whatever the ``labels`` (N,H,W)."""
    return _on(labels.device).expand(len(labels), -1)


@cache
def _on(device: torch.device) -> Tensor:
    """Copied to a device only once, since copying makes it wait."""
    return torch.tensor(CITYSCAPES_WEIGHTS, device=device)


def image_weights(
    labels: Tensor,
    whole: Tensor | None = None,
    *,
    classes: int,
    bound: float = 1.0,
    joint: bool = False,
    reduce: Reduce = alone,
) -> Tensor:
    """More weight for what an image shows little of: N,K from ``labels`` (N,H,W).

    w_c = 1 + bound (1 - h_c) for the classes that occur, h_c being their share of the valid pixels; 1 for the others.
    h is that of each image, or with ``joint`` that of the ``whole`` batch of all processes (Zhu et al., CVPR 2019).
    """
    bins = (whole if joint and whole is not None else labels).flatten(1).clamp(max=classes)  # the last: ignored
    counts = bins.new_zeros(len(bins), classes + 1).scatter_add_(1, bins, bins.new_ones(1, 1).expand_as(bins))
    counts = counts[:, :classes]
    if joint:
        counts = reduce(counts.sum(dim=0, keepdim=True)).expand(len(labels), -1)
    share = counts / counts.sum(dim=1, keepdim=True).clamp_min(1)
    return 1 + bound * (1 - share) * (counts > 0)


def weights_of_pixels(weights: Tensor, labels: Tensor) -> Tensor:
    """The weight (N,H,W) of each pixel's class, from ``weights`` (N,K); that of an ignored pixel means nothing."""
    last = weights.shape[1] - 1
    return weights.gather(1, labels.flatten(1).clamp(max=last)).view_as(labels)
