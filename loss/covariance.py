"""The whitening losses of RobustNet (Choi et al., CVPR 2021): instance whitening, relaxed and selective."""

import torch
from torch import Tensor

from utils.distributed import all_sum
from utils.packages import need_kmeans
from utils.precision import at_least_single, full_precision

RIDGE = 1e-5  # on the diagonal, as in the release


def covariance(maps: Tensor) -> Tensor:
    """The covariance (N,C,C) of the channels of each map in ``maps`` (N,C,H,W), which are normalised.

    F F^T / (HW - 1) + 1e-5 I, in single precision at least.
    """
    with full_precision(maps.device):
        flat = at_least_single(maps).flatten(2)
        ridge = RIDGE * torch.eye(flat.shape[1], dtype=flat.dtype, device=flat.device)
        products = flat @ flat.detach().mT
        if products.requires_grad:  # the gradient (G + G^T) F needs one matrix product; autograd would make two
            products.register_hook(lambda grad: grad + grad.mT)
        return products / (flat.shape[2] - 1) + ridge


def upper_triangle(channels: int, device: torch.device | None = None) -> Tensor:
    """The entries of a covariance that whitening reduces: C,C bool, true above the diagonal."""
    return torch.ones(channels, channels, dtype=torch.bool, device=device).triu(diagonal=1)


def relaxation(channels: int, denominator: float) -> int:
    """The C (C - 1) / 2 entries above the diagonal divided by ``denominator``, rounded down; 0 if that is 0.

    Relaxed whitening tolerates this sum of covariances, selective whitening spares this number of entries.
    """
    return int(channels * (channels - 1) // 2 // denominator) if denominator else 0


def whitening_loss(maps: Tensor, mask: Tensor, *, images: int | None = None, margin: float = 0) -> Tensor:
    """This process's share of the mean absolute covariance of ``maps`` (N,C,H,W, normalised) inside ``mask`` (C,C).

    L = mean over the images of all processes of max(0, (sum_mask |cov| - margin) / sum_mask 1).  ``images`` is the
    number of this process's images if ``maps`` belong to a part of them.
    """
    covariances = covariance(maps)
    excess = (covariances.abs() * mask).sum(dim=(1, 2)) - margin
    count = all_sum(excess.new_full((), len(maps) if images is None else images))
    return (excess / mask.sum().clamp_min(1)).clamp_min(0).sum() / count


def view_variance(maps: Tensor) -> Tensor:
    """The unbiased variance (C,C) of each covariance entry above the diagonal over V views of an image, V,C,H,W."""
    return covariance(maps).var(dim=0).triu(diagonal=1)


def sensitive_entries(variance: Tensor, *, clusters: int, relax_denom: float = 0) -> Tensor:
    """The entries whose ``variance`` (C,C) between views is high: C,C bool, on the CPU.

    As published, k-means sorts all C C variances into ``clusters``, and the lowest cluster is left out.  With
    ``relax_denom`` D, it is the lowest 1 / D of the entries above the diagonal.
    """
    variance = variance.cpu()
    upper = upper_triangle(len(variance))
    if not relax_denom:
        cluster = torch.tensor(need_kmeans().cluster(variance.flatten().tolist(), clusters).clusters).view_as(variance)
        return (cluster > cluster.min()) & upper  # the lowest cluster that is not empty may have a number above 0
    count = int(upper.sum()) - relaxation(len(variance), relax_denom)
    chosen = variance.masked_fill(~upper, -torch.inf).flatten().topk(count).indices
    return torch.zeros(variance.numel(), dtype=torch.bool).index_fill_(0, chosen, True).view_as(variance)
