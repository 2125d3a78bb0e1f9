"""Batch norm over the images of all processes."""

import torch
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
    for name, old in list(net.named_modules()):
        if isinstance(old, nn.BatchNorm2d):
            new = JointBatchNorm2d(old.num_features, old.eps, old.momentum)
            new.load_state_dict(old.state_dict())
            net.set_submodule(name, new.to(old.weight).train(old.training))
    return net
