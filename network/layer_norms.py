"""What ``--wt_layer`` puts into a backbone: instance norms as in IBN-Net (Pan et al. 2018), and those of RobustNet
(Choi et al. 2021), whose normalised maps a whitening loss reads."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import mobilenetv2, resnet, shufflenetv2

from network.switchable import SwitchableWhitening2d

WHITENING, SELECTIVE_WHITENING, INSTANCE, INSTANCE_AFFINE, SWITCHABLE = range(1, 6)  # the numbers of --wt_layer
NAME = "instance_norm_layer"  # the release's


class WhiteningNorm(nn.InstanceNorm2d):
    """An instance norm without scale and shift that keeps its last output for whoever takes it."""

    def __init__(self, channels: int):
        super().__init__(channels)
        self.normalised: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.normalised = super().forward(x)
        return self.normalised

    def take(self) -> Tensor:
        """The last output, which is not kept any longer: with it goes the memory of its graph."""
        normalised, self.normalised = self.normalised, None
        return normalised


def make_norm(kind: int, channels: int) -> nn.Module:
    """The norm that a number of ``--wt_layer`` above 0 means."""
    if kind in (WHITENING, SELECTIVE_WHITENING):
        return WhiteningNorm(channels)
    if kind == SWITCHABLE:
        return SwitchableWhitening2d(channels)
    return nn.InstanceNorm2d(channels, affine=kind == INSTANCE_AFFINE)


class NormedResidual(nn.Module):
    """A block of a ResNet with a norm between its sum and its last activation; the block's names stay."""

    def __init__(self, block: resnet.BasicBlock | resnet.Bottleneck, norm: nn.Module):
        super().__init__()
        for name, child in block.named_children():
            self.add_module(name, child)
        self.add_module(NAME, norm)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        if hasattr(self, "conv3"):
            residual = self.bn3(self.conv3(self.relu(residual)))
        shortcut = self.downsample(x) if hasattr(self, "downsample") else x
        return F.relu(self.instance_norm_layer(residual + shortcut))  # not in place: a loss reads the norm's output


def add_norm(part: nn.Sequential, norm: nn.Module) -> None:
    """Put ``norm`` where ``part`` has a place for it, else at its end, in front of the last activation of a ResNet."""
    last = part[-1]
    if hasattr(part, NAME):
        setattr(part, NAME, norm)
    elif isinstance(last, resnet.BasicBlock | resnet.Bottleneck):
        part[-1] = NormedResidual(last, norm)
    elif isinstance(last, mobilenetv2.InvertedResidual | shufflenetv2.InvertedResidual):
        last.add_module(NAME, norm)  # named inside the block, as the release does
        last.register_forward_hook(apply_norm)
    else:
        part.add_module(NAME, norm)


def apply_norm(block: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    return block.get_submodule(NAME)(output)


def norm_in_place_of(stem: nn.Sequential, index: int, kind: int) -> None:
    """Exchange the batch norm at ``index``; scale and shift, where there are any, stay."""
    old = stem[index]
    stem[index] = new = make_norm(kind, old.num_features)
    if kind == INSTANCE_AFFINE:
        new.weight, new.bias = old.weight, old.bias
    stem[index + 1] = nn.ReLU()  # not in place: a loss reads the norm's output
