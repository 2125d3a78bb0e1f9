"""Batch norm over the images of all processes, or by the batch itself in evaluation."""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from utils.distributed import all_gathered, all_sum
from utils.precision import at_least_single


class JointBatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose statistics are those of all ranks' images together, on any device and in any precision."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        mean, variance, count = joint_statistics(x.detach())
        self.remember(mean, variance * count / (count - 1))
        return _JointNormalisation.apply(x, self.weight, self.bias, mean, variance, count, self.eps)

    def remember(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics; ``variance`` is the unbiased one."""
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked.add_(1)


def joint_statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance (C each) of the channels of all ranks' ``x`` (N,C,y,x), and the number of their pixels.

    Each rank tells mean, squared differences from it, and pixels, so that one message is enough and large numbers are
    never subtracted (Chan, Golub, LeVeque 1983, "Algorithms for computing the sample variance").
    """
    untouched = torch.zeros(2, x.shape[1], dtype=at_least_single(x[:0]).dtype, device=x.device)
    mean, variance = torch.batch_norm_update_stats(x, *untouched, 0.0)  # in the precision of these
    pixels = mean.new_full((1,), x.numel() // x.shape[1])
    told = all_gathered(torch.cat([mean, variance * pixels, pixels]))
    means, squares, counts = told.split([len(mean), len(mean), 1], dim=1)
    count = counts.sum()
    mean = (means * counts).sum(dim=0) / count
    return mean, (squares + counts * (means - mean).square()).sum(dim=0) / count, count


class _JointNormalisation(torch.autograd.Function):
    """Normalise by given statistics, which are those of all ranks' ``x``, through which the gradient goes too."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, count: Tensor, eps: float
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.eps = eps
        return F.batch_norm(x, mean, variance, weight, bias, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """With y = (x - mean) / s and g the gradient of w y + b: w / s (g - mean of g - y mean of (g y)), the means
        over all ranks; w and b get this rank's sums of g y and g."""
        x, weight, mean, variance, count = ctx.saved_tensors
        arguments = grad, x, weight, mean, variance, None, None, False, ctx.eps, [False, True, True]
        _, weight_grad, bias_grad = torch.ops.aten.native_batch_norm_backward(*arguments)
        joint_weight, joint_bias = (all_sum(torch.stack([weight_grad, bias_grad])) / count).unbind()
        inverse = (variance + ctx.eps).rsqrt()
        scale = weight * inverse
        slope = -scale * inverse * joint_weight
        shift = -scale * joint_bias - slope * mean
        wide = torch.addcmul(shift[:, None, None], x, slope[:, None, None]).addcmul_(grad, scale[:, None, None])
        return wide.to(x.dtype), weight_grad, bias_grad, None, None, None, None


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
