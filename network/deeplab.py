"""DeepLabV3+ (Chen et al. 2018) over any backbone of four stages, with a memory between encoder and decoder."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from network.backbones import ResNet, pretrained_weights
from network.memory import CategoricalMemory, Reading
from utils.errors import UsageError


@dataclass
class SegOutput:
    """What a network returns for images (N,3,H,W)."""

    logits: Tensor  # N,K,H,W
    aux: Tensor | None  # N,K,h',w'  the auxiliary head, in training only
    features: Tensor  # N,C,h,w  the encoder's output before the memory
    reading: Reading | None = None


class Encoding(NamedTuple):
    low: Tensor  # N,C1,H/4,W/4  first stage, for the decoder
    mid: Tensor  # N,C3,h',w'  third stage, for the auxiliary head
    features: Tensor  # N,C,h,w


def resize(x: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


def conv_norm(cin: int, cout: int, kernel: int = 1, *, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(cin, cout, kernel, padding=padding, dilation=dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(cout), nn.ReLU(inplace=True))


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: image pooling, a 1x1 and three dilated 3x3 convolutions, side by side."""

    def __init__(self, cin: int, cout: int, rates: tuple[int, ...]):
        super().__init__()
        self.pool = conv_norm(cin, cout)
        self.convs = nn.ModuleList([conv_norm(cin, cout), *(conv_norm(cin, cout, 3, dilation=r) for r in rates)])

    def forward(self, x: Tensor) -> Tensor:
        pooled = resize(self.pool(F.adaptive_avg_pool2d(x, 1)), x.shape[-2:])
        return torch.cat([pooled, *(conv(x) for conv in self.convs)], dim=1)


class Encoder(nn.Module):
    """Backbone, ASPP and projection: everything in front of the memory."""

    def __init__(self, backbone: ResNet, output_stride: int, dim: int):
        super().__init__()
        self.backbone = backbone
        self.aspp = ASPP(backbone.channels[3], 256, tuple(rate * 16 // output_stride for rate in (6, 12, 18)))
        self.project = conv_norm(5 * 256, dim)

    def forward(self, images: Tensor) -> Encoding:
        low, _, mid, high = self.backbone(images)
        return Encoding(low, mid, self.project(self.aspp(high)))


class DeepLabV3Plus(nn.Module):
    def __init__(
        self,
        backbone: ResNet,
        num_classes: int,
        *,
        output_stride: int = 16,
        dim: int = 256,
        memory: CategoricalMemory | None = None,
        aux: bool = True,
    ):
        super().__init__()
        self.encoder = Encoder(backbone, output_stride, dim)
        self.shallow = conv_norm(backbone.channels[0], 48)
        self.decoder = nn.Sequential(*conv_norm(dim + 48, 256, 3), *conv_norm(256, 256, 3))
        self.classifier = nn.Conv2d(256, num_classes, 1)
        self.aux = auxiliary_head(backbone.channels[2], num_classes) if aux else None
        self.memory = memory
        self.initialise()

    def initialise(self) -> None:
        """Kaiming-normal convolutions outside the backbone, and the memory's near-zero start, as in the release."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d) and not name.startswith("encoder.backbone."):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if self.memory is not None:
            nn.init.constant_(self.memory.fuse[1].bias, 1e-4)
            nn.init.constant_(self.memory.update[1].bias, 1e-4)
            nn.init.normal_(self.memory.classifier.weight, std=1e-4)
            nn.init.zeros_(self.memory.classifier.bias)

    def forward(self, images: Tensor, *, items: Tensor | None = None, gumbel: bool = False) -> SegOutput:
        """Segment ``images`` (N,3,H,W, normalised), reading ``items`` (S,C) instead of the stored ones if given."""
        low, mid, features = self.encoder(images)
        reading = None
        if self.memory is not None:
            reading = self.memory.read(features, self.memory.items if items is None else items, gumbel=gumbel)
        x = features if reading is None else reading.features
        x = self.decoder(torch.cat([self.shallow(low), resize(x, low.shape[-2:])], dim=1))
        aux = self.aux(mid) if self.training and self.aux is not None else None
        return SegOutput(resize(self.classifier(x), images.shape[-2:]), aux, features, reading)


def auxiliary_head(cin: int, num_classes: int) -> nn.Sequential:
    norm_act = nn.BatchNorm2d(512), nn.ReLU(inplace=True), nn.Dropout2d(0.1)
    return nn.Sequential(nn.Conv2d(cin, 512, 3, padding=1), *norm_act, nn.Conv2d(512, num_classes, 1))


class Arch(NamedTuple):
    backbone: str
    output_stride: int


ARCHS: Mapping[str, Arch] = {  # the release's constructors: "D" dilates to stride 16, except on ResNet-18
    "DeepR18V3PlusD": Arch("resnet18", 32),
    "DeepR50V3PlusD": Arch("resnet50", 16),
    "DeepR50V3PlusD_OS8": Arch("resnet50", 8),
    "DeepR101V3PlusD": Arch("resnet101", 16),
    "DeepR101V3PlusD_OS8": Arch("resnet101", 8),
}


def lookup_arch(name: str) -> Arch:
    """The row that ``--arch`` names, with or without the release's prefix ``network.deepv3plus.``."""
    row = ARCHS.get(name.removeprefix("network.deepv3plus."))
    if row is None:
        known = ", ".join(f"network.deepv3plus.{key}" for key in ARCHS)
        raise UsageError(f"--arch {name}: no such network; known are {known}")
    return row


def build_network(
    arch: str,
    num_classes: int,
    *,
    memory: CategoricalMemory | None = None,
    dim: int = 256,
    output_stride: int | None = None,
    pretrained: str = "none",
    aux: bool = True,
) -> DeepLabV3Plus:
    """The network that ``arch`` names; ``output_stride`` (8, 16, 32) overrides the row's own."""
    row = lookup_arch(arch)
    stride = output_stride or row.output_stride
    backbone = ResNet(row.backbone, stride, pretrained_weights(pretrained, row.backbone))
    return DeepLabV3Plus(backbone, num_classes, output_stride=stride, dim=dim, memory=memory, aux=aux)
