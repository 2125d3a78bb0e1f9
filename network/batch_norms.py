"""Batch norms with other statistics: over the images of all processes, or of the evaluated batch itself."""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from utils.distributed import all_gathered, all_sum
from utils.precision import at_least_single


class JointBatchNorm2d(nn.BatchNorm2d):
    """Batch norm with the statistics of all processes' images, on any device and in any precision."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        mean, variance, count = joint_statistics(x.detach())
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        self.num_batches_tracked.add_(1)
        return _JointNormalisation.apply(x, self.weight, self.bias, mean, variance, count, self.eps)


def joint_statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance (C each) of the channels of all processes' ``x`` (N,C,y,x), and the number of pixels.

    Each process sends its mean, the sum of squared differences from it, and its number of pixels, so large numbers are
    never subtracted (Chan, Golub, LeVeque 1983, "Algorithms for computing the sample variance").
    """
    running = torch.zeros(2, x.shape[1], dtype=at_least_single(x[:0]).dtype, device=x.device)
    mean, variance = torch.batch_norm_update_stats(x, *running, 0.0)  # ``running`` sets the precision of the result
    pixels = mean.new_full((1,), x.numel() // x.shape[1])
    gathered = all_gathered(torch.cat([mean, variance * pixels, pixels]))
    means, squares, counts = gathered.split([len(mean), len(mean), 1], dim=1)
    count = counts.sum()
    mean = (means * counts).sum(dim=0) / count
    return mean, (squares + counts * (means - mean).square()).sum(dim=0) / count, count


class _JointNormalisation(torch.autograd.Function):
    """Normalise ``x`` by statistics of all processes' ``x``; the gradient goes through these statistics too."""

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
        """The gradients of x, w and b, with y = (x - mean) / s and g the gradient of w y + b.

        x gets w / s (g - mean of g - y mean of (g y)), the means over all processes; w and b get this process's sums
        of g y and g.
        """
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
    """``net`` with batch norms over all processes."""
    return exchange_batch_norms(net, nn.SyncBatchNorm if device.type == "cuda" else JointBatchNorm2d)


class TargetBatchNorm2d(nn.BatchNorm2d):
    """Batch norm that uses the mean and biased variance of the evaluated batch: target-specific normalisation.

    Source: Zhang et al. 2022, "Generalizable semantic segmentation via model-agnostic learning and target-specific
    normalization".  One value per channel (the pooled map of an image) has no variance: the stored statistics are used.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.numel() == x.shape[1]:
            return super().forward(x)
        return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)


def target_normalised(net: nn.Module) -> nn.Module:
    """A copy of ``net`` in evaluation mode with target-specific batch norms; stored statistics do not change."""
    return exchange_batch_norms(copy.deepcopy(net), TargetBatchNorm2d).eval()


def exchange_batch_norms(net: nn.Module, norm: type[nn.BatchNorm2d | nn.SyncBatchNorm]) -> nn.Module:
    """``net`` with every batch norm replaced by one of the class ``norm``; parameters, statistics and names stay.

    A batch norm of timm may have its activation in it (``drop`` and ``act``).
    """
    for name, old in list(net.named_modules()):
        if isinstance(old, nn.BatchNorm2d):
            new = norm(old.num_features, old.eps, old.momentum).to(old.weight)
            new.load_state_dict(old.state_dict())
            new.weight, new.bias = old.weight, old.bias  # they may be frozen
            if hasattr(old, "act"):
                new.drop, new.act = old.drop, old.act
                new.register_forward_hook(activate)
            net.set_submodule(name, new.train(old.training))
    return net


def activate(norm: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    return norm.act(norm.drop(output))
