"""Backbones: torchvision's models as a stem and four stages."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torchvision
from torch import Tensor, nn

from network.archs import SMALL, TIMM, check_norms, lookup_arch, undilated_strides
from network.instance_norms import NAME, add_norm, add_stem_norms
from network.pretrained import load_backbone, pretrained_weights
from utils.packages import need

BASIC, BOTTLENECK = (64, 128, 256, 512), (256, 512, 1024, 2048)
NO_NORMS = (0,) * 7  # --wt_layer


class Parts(NamedTuple):
    """A model taken apart."""

    stem: nn.Sequential
    stages: list[nn.Sequential]
    stem_norms: tuple[int, ...] = ()  # indices of the batch norms in the stem that --wt_layer can replace


def residual(net: nn.Module) -> Parts:
    """ResNet (He et al. 2016), ResNeXt, Wide ResNet."""
    stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
    return Parts(stem, [net.layer1, net.layer2, net.layer3, net.layer4], stem_norms=(1,))


def residual_early(net: nn.Module) -> Parts:
    """A ResNet whose stages have their stride in the first 1x1 convolution (He et al. 2016), not in the 3x3 one."""
    parts = residual(net)
    for stage in parts.stages:
        stage[0].conv1.stride, stage[0].conv2.stride = stage[0].conv2.stride, stage[0].conv1.stride
    return parts


def with_deep_stem(net: nn.Module) -> nn.Module:
    """A ResNet with three 3x3 convolutions as its stem (conv1, bn1 to conv3, bn3), as RobustNet's ResNet-101 has."""
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
    layers = []
    for conv, norm in ((net.conv1, net.bn1), (net.conv2, net.bn2), (net.conv3, net.bn3)):
        layers += [conv, norm, nn.ReLU(inplace=True)]
    return residual(net)._replace(stem=nn.Sequential(*layers, net.maxpool), stem_norms=(1, 4, 7))


def cut(layers: nn.Sequential, starts: tuple[int, int, int, int]) -> Parts:
    """A sequence of layers, cut where the four stages start; the last stage is a 1x1 convolution."""
    ends = [*starts[1:], len(layers)]
    stages = [nn.Sequential(*layers[start:end]) for start, end in zip(starts, ends, strict=True)]
    return Parts(nn.Sequential(*layers[: starts[0]]), stages)


def mnas(net: nn.Module) -> Parts:
    """MNASNet (Tan et al. 2019)."""
    return cut(net.layers, (8, 10, 12, 14))


def shuffle(net: nn.Module) -> Parts:
    """ShuffleNetV2 (Ma et al. 2018)."""

    def part(layer: nn.Sequential, **rest: nn.Module) -> nn.Sequential:
        # A place for a norm between convolution and activation.  The first two names are the release's.
        return nn.Sequential(OrderedDict({"layer": layer, NAME: nn.Identity(), "relu": nn.ReLU()} | rest))

    stem = part(nn.Sequential(net.conv1[:2]), maxpool=net.maxpool)
    return Parts(stem, [net.stage2, net.stage3, net.stage4, part(net.conv5[:2])])


class BackboneSpec(NamedTuple):
    model: str  # of torchvision
    take_apart: Callable[[nn.Module], Parts]
    channels: tuple[int, int, int, int]  # of the stages' outputs
    modify: Callable[[nn.Module], nn.Module] | None = None  # makes a model for which torchvision has no weights


BACKBONES: Mapping[str, BackboneSpec] = {
    "resnet18": BackboneSpec("resnet18", residual, BASIC),
    "resnet50": BackboneSpec("resnet50", residual, BOTTLENECK),
    "resnet101": BackboneSpec("resnet101", residual, BOTTLENECK),
    "resnet152": BackboneSpec("resnet152", residual, BOTTLENECK),
    "resnet50_early": BackboneSpec("resnet50", residual_early, BOTTLENECK),
    "resnet101_early": BackboneSpec("resnet101", residual_early, BOTTLENECK),
    "resnet101_deep_stem": BackboneSpec("resnet101", residual_deep_stem, BOTTLENECK, with_deep_stem),
    "resnext50": BackboneSpec("resnext50_32x4d", residual, BOTTLENECK),
    "resnext101": BackboneSpec("resnext101_32x8d", residual, BOTTLENECK),
    "wide_resnet50": BackboneSpec("wide_resnet50_2", residual, BOTTLENECK),
    "wide_resnet101": BackboneSpec("wide_resnet101_2", residual, BOTTLENECK),
    "mobilenet_v2": BackboneSpec("mobilenet_v2", lambda net: cut(net.features, (2, 7, 11, 18)), (32, 64, 320, 1280)),
    "mnasnet05": BackboneSpec("mnasnet0_5", mnas, (24, 48, 160, 1280)),
    "mnasnet10": BackboneSpec("mnasnet1_0", mnas, (40, 96, 320, 1280)),
    "shufflenet_v2": BackboneSpec("shufflenet_v2_x1_0", shuffle, (116, 232, 464, 1024)),
}


class Backbone(nn.Module):
    """The stem and the four stages of the backbone ``name``.

    ``forward`` maps images (N,3,H,W) to four feature maps, the last at ``output_stride`` (4, 8, 16 or 32).
    ``wt_layer`` adds norms, see ``network/instance_norms.py``.
    """

    def __init__(
        self, name: str, output_stride: int, *, pretrained: str = "none", wt_layer: Sequence[int] = NO_NORMS
    ) -> None:
        super().__init__()
        spec = BACKBONES[name]
        net = torchvision.models.get_model(spec.model)
        weights = pretrained_weights(pretrained, None if spec.modify else spec.model)
        if spec.modify:
            net = spec.modify(net)
        if weights is not None:
            load_backbone(net, weights, pretrained)
        parts = spec.take_apart(net)
        for stage, stride in zip(parts.stages, undilated_strides(name), strict=True):
            if stride > output_stride:
                dilate(stage, stride // output_stride, everywhere=name not in SMALL)
        add_stem_norms(parts.stem, wt_layer[:3], batch_norms=parts.stem_norms)
        for stage, kind, channels in zip(parts.stages, wt_layer[3:], spec.channels, strict=True):
            add_norm(stage, kind, channels)
        self.stem, self.stages = parts.stem, nn.ModuleList(parts.stages)
        self.channels = spec.channels
        self.strides = tuple(min(stride, output_stride) for stride in undilated_strides(name))
        self.low_scale, self.multiple, self.note, self.normalised_by = 1, 1, "", "ImageNet"

    @property
    def blocks(self) -> list[nn.Module]:
        return list(self.stages)

    def forward(self, images: Tensor) -> list[Tensor]:
        x, maps = self.stem(images), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


def dilate(stage: nn.Module, rate: int, *, everywhere: bool) -> None:
    """Remove a stage's stride and dilate its convolutions by ``rate`` instead.

    ``everywhere``: all of them.  Otherwise only those that had the stride, as the release does in its small networks.
    """
    for conv in stage.modules():
        if isinstance(conv, nn.Conv2d) and (everywhere or conv.stride != (1, 1)):
            conv.stride = 1, 1
            conv.dilation = rate, rate
            conv.padding = tuple(rate * (side // 2) for side in conv.kernel_size)


def build_backbone(
    arch: str,
    output_stride: int | None = None,
    *,
    pretrained: str = "none",
    wt_layer: Sequence[int] = NO_NORMS,
    image_in: bool = False,
) -> nn.Module:
    """The backbone of the network ``arch``; ``output_stride`` overrides the one in its name.

    Its contract is in ``network/timm_encoders.py``.
    """
    spec = lookup_arch(arch)
    check_norms(arch, wt_layer)
    stride = output_stride or spec.output_stride
    if not arch.startswith(TIMM):
        return Backbone(spec.backbone, stride, pretrained=pretrained, wt_layer=wt_layer)
    need("timm", f"--arch {arch}", remedy="install it with `pip install timm`")
    from network.timm_encoders import TimmEncoder

    return TimmEncoder(arch.removeprefix(TIMM), stride, pretrained=pretrained, image_in=image_in)
