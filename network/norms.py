"""Batch norm over the images of all processes, or by the batch itself in evaluation."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from utils.distributed import all_sum
from utils.precision import at_least_single


class JointBatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose statistics are those of all ranks' images together, on any device and in any precision.

    The variance is that of the differences from the joint mean: two messages, but no difference of large numbers.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        wide = at_least_single(x)
        channels = wide.shape[1]
        pixels = wide.new_tensor([wide.numel() // channels])
        sums, count = all_sum(torch.cat([wide.sum((0, 2, 3)), pixels])).split([channels, 1])
        mean = sums / count
        centred = wide - mean[:, None, None]
        variance = all_sum(centred.square().sum((0, 2, 3))) / count
        self.remember(mean.detach(), (variance * count / (count - 1)).detach())
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    def remember(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics; ``variance`` is the unbiased one."""
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked.add_(1)


def join_batch_norms(net: nn.Module, device: torch.device) -> nn.Module:
    """``net`` with batch norms that work over all ranks; parameters, statistics and names stay."""
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(net)
    return exchange_batch_norms(net, JointBatchNorm2d)


class TargetBatchNorm2d(nn.BatchNorm2d):
    """Batch norm by the mean and the (biased) variance of the batch itself, in evaluation: target-specific
    normalisation (Zhang et al. 2022, "Generalizable semantic segmentation via model-agnostic learning and
    target-specific normalization").

    Of one value per channel, the pooled map of a single image, there is no variance: the stored statistics are taken.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.numel() == x.shape[1]:
            return super().forward(x)
        return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)


def target_normalised(net: nn.Module) -> nn.Module:
    """A copy of ``net``, in evaluation mode, whose batch norms go by the batch; their stored statistics never move."""
    return exchange_batch_norms(copy.deepcopy(net), TargetBatchNorm2d).eval()


def exchange_batch_norms(net: nn.Module, kind: type[nn.BatchNorm2d]) -> nn.Module:
    """``net`` with batch norms of that kind; parameters, statistics and names stay."""
    for name, old in list(net.named_modules()):
        if isinstance(old, nn.BatchNorm2d):
            new = kind(old.num_features, old.eps, old.momentum).to(old.weight)
            new.load_state_dict(old.state_dict())
            net.set_submodule(name, new.train(old.training))
    return net
