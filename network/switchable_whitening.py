"""Switchable whitening (Pan et al. 2019, "Switchable Whitening for Deep Representation Learning")."""

import math

import torch
from torch import Tensor, nn

from utils.distributed import all_sum
from utils.precision import at_least_single, full_precision

GROUP, NEWTON_STEPS = 16, 5


class SwitchableWhitening2d(nn.Module):
    """Whitens groups of up to 16 channels of maps (N,C,H,W) by a learnt mixture of batch and instance statistics.

    y = scale * S^(-1/2) (x - mean) + shift (section 3).  mean = w_b mean_b + w_i mean_i with softmax weights w; the
    covariance S is mixed in the same way, with weights of its own.  Five Newton steps compute the inverse root.  Batch
    statistics are over all processes in training, and the running ones in evaluation.
    """

    def __init__(self, channels: int, *, eps: float = 1e-5, momentum: float = 0.01):
        super().__init__()
        self.group, self.eps, self.momentum = math.gcd(channels, GROUP), eps, momentum
        groups = channels // self.group
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.mean_mixture = nn.Parameter(torch.zeros(2))  # logits of batch and instance
        self.covariance_mixture = nn.Parameter(torch.zeros(2))
        self.register_buffer("running_mean", torch.zeros(groups, self.group, 1))
        self.register_buffer("running_covariance", torch.eye(self.group).repeat(groups, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        with full_precision(x.device):
            wide = at_least_single(x)
            grouped = wide.reshape(x.shape[0], -1, self.group, x.shape[2] * x.shape[3])  # N,G,c,HW
            mean, covariance = self.statistics(grouped)
            whitened = inverse_root(covariance + self.eps * identity(covariance)) @ (grouped - mean)
            y = whitened.reshape(wide.shape) * self.weight[:, None, None] + self.bias[:, None, None]
        return y.to(x.dtype)

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mixed mean (N,G,c,1) and covariance (N,G,c,c) of ``x`` (N,G,c,HW)."""
        mean = x.mean(-1, keepdim=True)
        covariance = gram(x - mean) / x.shape[-1]
        batch_mean, batch_covariance = self.running_mean, self.running_covariance
        if self.training:
            count = all_sum(x.new_full((1,), len(x) * x.shape[-1]))
            batch_mean = all_sum(x.sum((0, 3)).unsqueeze(-1)) / count
            batch_covariance = all_sum(gram(x - batch_mean).sum(0)) / count
            self.running_mean.lerp_(batch_mean.detach(), self.momentum)
            self.running_covariance.lerp_(batch_covariance.detach(), self.momentum)
        of_mean, of_covariance = self.mean_mixture.softmax(0), self.covariance_mixture.softmax(0)
        return (
            of_mean[0] * batch_mean + of_mean[1] * mean,
            of_covariance[0] * batch_covariance + of_covariance[1] * covariance,
        )


def gram(x: Tensor) -> Tensor:
    return x @ x.transpose(-1, -2)


def identity(like: Tensor) -> Tensor:
    return torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)


def inverse_root(matrix: Tensor) -> Tensor:
    """S^(-1/2) of positive definite matrices (...,c,c) by Newton's iteration, P <- (3 P - P^3 S / tr S) / 2."""
    trace = matrix.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    unit = matrix / trace
    root = identity(matrix).expand_as(matrix)
    for _ in range(NEWTON_STEPS):
        root = (3 * root - root @ root @ root @ unit) / 2
    return root * trace.rsqrt()
