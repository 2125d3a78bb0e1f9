"""Backbones of four stages, made of torchvision's models: a table of them, and what turns a model into four stages."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
import torchvision
from torch import Tensor, nn

from network.archs import SMALL_STRIDES, STRIDES
from network.layer_norms import NAME, add_norm, make_norm, norm_in_place_of
from network.pretrained import load_backbone, pretrained_weights
from network.recomputing import recomputed

BASIC, BOTTLENECK = (64, 128, 256, 512), (256, 512, 1024, 2048)
NO_NORMS = (0,) * 7  # --wt_layer


class Parts(NamedTuple):
    """A model taken apart."""

    stem: nn.Sequential
    stages: list[nn.Sequential]
    stem_norms: tuple[int, ...] = ()  # where in the stem are the batch norms that --wt_layer exchanges
    strides: tuple[int, ...] = STRIDES  # of the stages' outputs
    dilate_everywhere: bool = True


def residual(net: nn.Module) -> Parts:
    """ResNet (He et al. 2016), ResNeXt, Wide ResNet."""
    stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
    return Parts(stem, [net.layer1, net.layer2, net.layer3, net.layer4], stem_norms=(1,))


def residual_early(net: nn.Module) -> Parts:
    """The first 1x1 convolution of a stage has its stride, as in He et al. 2016, where torchvision's 3x3 has it."""
    parts = residual(net)
    for stage in parts.stages:
        stage[0].conv1.stride, stage[0].conv2.stride = stage[0].conv2.stride, stage[0].conv1.stride
    return parts


def three_convolutions(net: nn.Module) -> nn.Module:
    """A ResNet whose stem is three 3x3 convolutions, conv1 and bn1 to conv3 and bn3, as RobustNet's ResNet-101 has."""
    net.conv1, net.bn1 = nn.Conv2d(3, 64, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(64)
    net.conv2, net.bn2 = nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64)
    net.conv3, net.bn3 = nn.Conv2d(64, 128, 3, padding=1, bias=False), nn.BatchNorm2d(128)
    first = net.layer1[0]
    first.conv1 = nn.Conv2d(128, first.conv1.out_channels, 1, bias=False)
    first.downsample[0] = nn.Conv2d(128, first.downsample[0].out_channels, 1, bias=False)
    for conv in (net.conv1, net.conv2, net.conv3, first.conv1, first.downsample[0]):
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return net


def residual_deep_stem(net: nn.Module) -> Parts:
    triples = [(net.conv1, net.bn1), (net.conv2, net.bn2), (net.conv3, net.bn3)]
    stem = nn.Sequential(*(layer for pair in triples for layer in (*pair, nn.ReLU(inplace=True))), net.maxpool)
    return residual(net)._replace(stem=stem, stem_norms=(1, 4, 7))


def cut(layers: nn.Sequential, starts: tuple[int, int, int, int]) -> Parts:
    """Layers in a row as a stem and four stages, which begin at ``starts``; the last one is a 1x1 convolution."""
    ends = [*starts[1:], len(layers)]
    stages = [nn.Sequential(*layers[start:end]) for start, end in zip(starts, ends, strict=True)]
    return Parts(nn.Sequential(*layers[: starts[0]]), stages, strides=SMALL_STRIDES, dilate_everywhere=False)


def mobile(net: nn.Module) -> Parts:
    """MobileNetV2 (Sandler et al. 2018)."""
    return cut(net.features, (2, 7, 11, 18))


def mnas(net: nn.Module) -> Parts:
    """MNASNet (Tan et al. 2019)."""
    return cut(net.layers, (8, 10, 12, 14))


def shuffle(net: nn.Module) -> Parts:
    """ShuffleNetV2 (Ma et al. 2018)."""

    def part(layer: nn.Sequential, **rest: nn.Module) -> nn.Sequential:
        names = {"layer": layer, NAME: nn.Identity(), "relu": nn.ReLU()}  # the first two as the release has them
        return nn.Sequential(OrderedDict(names | rest))

    stem = part(nn.Sequential(net.conv1[:2]), maxpool=net.maxpool)
    stages = [net.stage2, net.stage3, net.stage4, part(net.conv5[:2])]
    return Parts(stem, stages, strides=SMALL_STRIDES, dilate_everywhere=False)


class Row(NamedTuple):
    model: str  # of torchvision
    take_apart: Callable[[nn.Module], Parts]
    channels: tuple[int, int, int, int]
    change: Callable[[nn.Module], nn.Module] | None = None  # to a model of which torchvision has no weights


BACKBONES: Mapping[str, Row] = {
    "resnet18": Row("resnet18", residual, BASIC),
    "resnet50": Row("resnet50", residual, BOTTLENECK),
    "resnet101": Row("resnet101", residual, BOTTLENECK),
    "resnet152": Row("resnet152", residual, BOTTLENECK),
    "resnet50_early": Row("resnet50", residual_early, BOTTLENECK),
    "resnet101_early": Row("resnet101", residual_early, BOTTLENECK),
    "resnet101_deep_stem": Row("resnet101", residual_deep_stem, BOTTLENECK, three_convolutions),
    "resnext50": Row("resnext50_32x4d", residual, BOTTLENECK),
    "resnext101": Row("resnext101_32x8d", residual, BOTTLENECK),
    "wide_resnet50": Row("wide_resnet50_2", residual, BOTTLENECK),
    "wide_resnet101": Row("wide_resnet101_2", residual, BOTTLENECK),
    "mobilenet_v2": Row("mobilenet_v2", mobile, (32, 64, 320, 1280)),
    "mnasnet05": Row("mnasnet0_5", mnas, (24, 48, 160, 1280)),
    "mnasnet10": Row("mnasnet1_0", mnas, (40, 96, 320, 1280)),
    "shufflenet_v2": Row("shufflenet_v2_x1_0", shuffle, (116, 232, 464, 1024)),
}


class Backbone(nn.Module):
    """The stem and the four stages of the model that the row ``name`` tells.

    ``forward`` maps images (N,3,H,W) to four feature maps, the last at ``output_stride`` (4, 8, 16 or 32).
    ``wt_layer`` is the release's flag: the norms behind the three convolutions of a stem and at the end of each stage.
    If ``recompute`` is set, the backward pass computes the stages again instead of finding all of their maps kept.
    """

    def __init__(
        self, name: str, output_stride: int, *, pretrained: str = "none", wt_layer: Sequence[int] = NO_NORMS
    ) -> None:
        super().__init__()
        row = BACKBONES[name]
        self.channels = row.channels
        net = torchvision.models.get_model(row.model)
        weights = pretrained_weights(pretrained, None if row.change else row.model)
        if row.change:
            net = row.change(net)
        if weights is not None:
            load_backbone(net, weights)
        parts = row.take_apart(net)
        for stage, stride in zip(parts.stages, parts.strides, strict=True):
            if stride > output_stride:
                dilate(stage, stride // output_stride, everywhere=parts.dilate_everywhere)
        add_stem_norms(parts, wt_layer[:3])
        for stage, channels, kind in zip(parts.stages, row.channels, wt_layer[3:], strict=True):
            if kind:
                add_norm(stage, make_norm(kind, channels))
        self.stem, self.stages = parts.stem, nn.ModuleList(parts.stages)
        self.recompute = False

    def forward(self, images: Tensor) -> list[Tensor]:
        x, maps = self.stem(images), []
        for stage in self.stages:
            maps.append(x := recomputed(stage, x) if self.recompute and torch.is_grad_enabled() else stage(x))
        return maps


def dilate(stage: nn.Module, rate: int, *, everywhere: bool) -> None:
    """Trade a stage's stride for dilation of all its convolutions (torchvision's own option spares the first block), or
    of those alone that had the stride, as the release does in its small networks."""
    for conv in stage.modules():
        if isinstance(conv, nn.Conv2d) and (everywhere or conv.stride != (1, 1)):
            conv.stride = 1, 1
            conv.dilation = rate, rate
            conv.padding = tuple(rate * (side // 2) for side in conv.kernel_size)


def add_stem_norms(parts: Parts, kinds: Sequence[int]) -> None:
    """The first three numbers of ``--wt_layer``; a stem of one convolution, and one of blocks, has the third place
    alone."""
    for index, kind in zip(reversed(parts.stem_norms), reversed(kinds), strict=False):
        if kind:
            norm_in_place_of(parts.stem, index, kind)
    if kinds[-1] and not parts.stem_norms:
        last = [module for module in parts.stem.modules() if isinstance(module, nn.Conv2d)][-1]
        add_norm(parts.stem, make_norm(kinds[-1], last.out_channels))
