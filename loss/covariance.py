"""The whitening losses of RobustNet (Choi et al., CVPR 2021): instance whitening, relaxed and selective."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from loss.reduction import Reduce, alone
from utils.packages import need_kmeans
from utils.precision import at_least_single, full_precision

RIDGE = 1e-5  # on the diagonal, as in the release


def covariance(maps: Tensor) -> Tensor:
    """The covariance of the channels of each of ``maps`` (N,C,H,W), which are normalised: N,C,C.

    F F^T / (HW - 1) + 1e-5 I, in single precision at least.
    """
    with full_precision(maps.device):
        flat = at_least_single(maps).flatten(2)
        ridge = RIDGE * torch.eye(flat.shape[1], dtype=flat.dtype, device=flat.device)
        return _Products.apply(flat) / (flat.shape[2] - 1) + ridge


class _Products(torch.autograd.Function):
    """F F^T, N,C,C from N,C,P; its gradient, (G + G^T) F, takes one product where autograd makes two."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor) -> Tensor:
        ctx.save_for_backward(flat)
        return flat @ flat.mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (flat,) = ctx.saved_tensors
        return (grad + grad.mT) @ flat


def upper_triangle(channels: int, device: torch.device | None = None) -> Tensor:
    """The entries of a covariance that whitening is about, each once: C,C bool, true above the diagonal."""
    return torch.ones(channels, channels, dtype=torch.bool, device=device).triu(diagonal=1)


def relaxation(channels: int, denominator: float) -> int:
    """One in ``denominator`` of the C (C - 1) / 2 entries: what their sum may be, or how many are spared; 0: none."""
    return int(channels * (channels - 1) // 2 // denominator) if denominator else 0


def whitening_loss(
    maps: Tensor, mask: Tensor, *, images: int | None = None, margin: float = 0, reduce: Reduce = alone
) -> Tensor:
    """How far the channels of ``maps`` (N,C,H,W, normalised) are from being independent, where ``mask`` (C,C) asks.

    L = mean over the images of max(0, (sum_mask |cov| - margin) / sum_mask 1).  The sum over the images is this
    process's own, their number that of all; of its own there are ``images`` where ``maps`` are those of a part.
    """
    covariances = covariance(maps)
    excess = (covariances.abs() * mask).sum(dim=(1, 2)) - margin
    number = reduce(excess.new_full((), len(maps) if images is None else images))
    return (excess / mask.sum().clamp_min(1)).clamp_min(0).sum() / number


def view_variance(maps: Tensor) -> Tensor:
    """How much each entry of the covariance differs between ``maps`` (V,C,H,W) of V views of one image.

    The unbiased variance over the views above the diagonal, 0 elsewhere: C,C.
    """
    return covariance(maps).var(dim=0).triu(diagonal=1)


def sensitive_entries(variance: Tensor, *, clusters: int, relax_denom: float = 0) -> Tensor:
    """The entries that change most from view to view, by their ``variance`` (C,C): C,C bool, on the CPU.

    All but those of the lowest of so many k-means clusters of all C C numbers (0 on and below the diagonal included, as
    published), or with ``relax_denom`` all but one in so many of the entries above the diagonal.
    """
    variance = variance.cpu()
    upper = upper_triangle(len(variance))
    if not relax_denom:
        numbers = torch.tensor(need_kmeans().cluster(variance.flatten().tolist(), clusters).clusters).view_as(variance)
        return (numbers > numbers.min()) & upper  # the lowest is number 0, or more where clusters are left empty
    count = int(upper.sum()) - relaxation(len(variance), relax_denom)
    chosen = variance.masked_fill(~upper, -torch.inf).flatten().topk(count).indices
    return torch.zeros(variance.numel(), dtype=torch.bool).index_fill_(0, chosen, True).view_as(variance)
