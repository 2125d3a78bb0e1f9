"""A ResNet-18 and heads with an eighth of their channels.

Runs that only show what the programs do are fast with them, and their checkpoints are small.
"""

import pytest
from torch import nn
from torchvision.models.resnet import BasicBlock

from network import backbones, deeplab

CHANNELS, WIDTH = (8, 16, 32, 64), 32


def thin(net: nn.Module) -> nn.Module:
    """``net``, a ResNet-18, with thin layers instead of its own."""
    net.conv1, net.bn1 = nn.Conv2d(3, CHANNELS[0], 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(CHANNELS[0])
    before = CHANNELS[0]
    for number, channels in enumerate(CHANNELS, start=1):
        stride = 1 if number == 1 else 2
        fits = nn.Sequential(nn.Conv2d(before, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))
        first = BasicBlock(before, channels, stride, None if number == 1 else fits)
        setattr(net, f"layer{number}", nn.Sequential(first, BasicBlock(channels, channels)))
        before = channels
    return net


def use(patch: pytest.MonkeyPatch) -> None:
    """Heads, and networks with a ResNet-18, are thin until ``patch`` is undone, in this process."""
    patch.setattr(deeplab, "WIDTH", WIDTH)
    patch.setitem(
        backbones.BACKBONES, "resnet18", backbones.BackboneSpec("resnet18", backbones.residual, CHANNELS, thin)
    )
