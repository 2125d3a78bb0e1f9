"""DeepLabV3+ (Chen et al. 2018), V3 (2017) and V2 (2016), with a memory between encoder and decoder."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from network.archs import lookup_arch
from network.backbones import NO_NORMS, Backbone, build_backbone
from network.categorical_memory import CategoricalMemory, Reading
from network.instance_norms import WhiteningNorm
from network.tuning import choose_trained
from utils.precision import at_least_single

WIDTH = 256  # channels of a branch of the pyramid, and of the decoder


@dataclass
class SegOutput:
    """What a network returns for images (N,3,H,W)."""

    coarse: Tensor  # N,K,y,x  logits at the resolution of the decoder
    size: torch.Size  # H,W
    aux: Tensor | None  # N,K,h',w'  the auxiliary head, in training only
    features: Tensor  # N,C,h,w  the encoder's output before the memory
    reading: Reading | None = None
    whitened: list[Tensor] = field(default_factory=list)  # N,c,y,x each: normalised maps for the whitening loss
    multiple: int = 1  # the images were padded to sides that are multiples of it

    @cached_property
    def logits(self) -> Tensor:
        """Logits at the size of the images (N,K,H,W), in single precision at least.

        The losses use ``coarse``: these would be the largest tensor.
        """
        return full_size(self.coarse, self.size, self.multiple)


class Encoding(NamedTuple):
    low: Tensor  # N,C1,H/4,W/4  first stage, for the decoder
    mid: Tensor  # N,C3,h',w'  third stage, for the auxiliary head
    features: Tensor  # N,C,h,w
    whitened: Sequence[Tensor] = ()  # N,c,y,x each


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """``x`` (N,C,h,w) resized to ``size``, bilinearly with aligned corners; ``x`` itself if it has that size."""
    same = not torch.compiler.is_compiling() and x.shape[-2:] == size  # a graph for all sizes cannot depend on it
    return x if same else F.interpolate(x, size, mode="bilinear", align_corners=True)


def full_size(coarse: Tensor, size: torch.Size, multiple: int) -> Tensor:
    """Logits at the ``size`` of images that were padded to multiples of ``multiple``, in single precision at least."""
    # ONNX rounds quotients towards zero, so no negative number is divided.
    padded = tuple((side + multiple - 1) // multiple * multiple for side in size)
    logits = resize(at_least_single(coarse), padded)
    for dim, side in ((-2, size[0]), (-1, size[1])) if multiple > 1 else ():
        # Not a slice: whether that is contiguous depends on the size, which a graph for all sizes must not.
        logits = logits.index_select(dim, torch.arange(side, device=logits.device))
    return logits


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
        pooled = self.pool(F.adaptive_avg_pool2d(x, 1)).expand(-1, -1, *x.shape[-2:])
        # The layout of a 1x1 map is ambiguous.  Without this, the result of ``cat`` might not be channels last.
        pooled = pooled.contiguous(memory_format=torch.channels_last)
        return torch.cat([pooled, *(conv(x) for conv in self.convs)], dim=1)


class SummedPyramid(nn.Module):
    """The release's DeepLabV2 head: the sum of four dilated 3x3 convolutions, each with norm and activation."""

    def __init__(self, cin: int, cout: int, rates: tuple[int, ...]):
        super().__init__()
        self.branches = nn.ModuleList([conv_norm(cin, cout, 3, dilation=rate) for rate in rates])

    def forward(self, x: Tensor) -> Tensor:
        return sum(branch(x) for branch in self.branches)


class Encoder(nn.Module):
    """Backbone, ASPP and projection: all layers before the memory."""

    def __init__(self, backbone: Backbone, output_stride: int, dim: int, *, summed: bool = False):
        super().__init__()
        self.backbone = backbone
        if summed:
            rates = tuple(rate * 8 // output_stride for rate in (6, 12, 18, 24))
            self.aspp, self.project = SummedPyramid(backbone.channels[3], dim, rates), nn.Identity()
        else:
            rates = tuple(rate * 16 // output_stride for rate in (6, 12, 18))
            self.aspp, self.project = ASPP(backbone.channels[3], WIDTH, rates), conv_norm(5 * WIDTH, dim)
        self.whitening = [module for module in backbone.modules() if isinstance(module, WhiteningNorm)]

    def forward(self, images: Tensor) -> Encoding:
        low, _, mid, high = self.backbone(images)
        features = self.project(self.aspp(high))
        return Encoding(low, mid, features, [norm.take() for norm in self.whitening])

    def train(self, mode: bool = True) -> "Encoder":
        """As ever, but batch norms with frozen weights keep their statistics, too."""
        super().train(mode)
        for module in self.backbone.modules():
            if isinstance(module, _BatchNorm) and not module.weight.requires_grad:
                module.eval()
        return self


class DeepLab(nn.Module):
    """The networks of the three papers: ``head`` is "v3plus", "v3" (no skip connection) or "v2" (summed pyramid)."""

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        head: str = "v3plus",
        output_stride: int = 16,
        dim: int = 256,
        decoder_dim: int | None = None,
        memory: CategoricalMemory | None = None,
        aux: bool = True,
    ):
        super().__init__()
        self.encoder = Encoder(backbone, output_stride, dim, summed=head == "v2")
        width = decoder_dim or WIDTH
        if head == "v3plus":
            self.shallow = conv_norm(backbone.channels[0], 48)
            self.decoder = nn.Sequential(*conv_norm(dim + 48, width, 3), *conv_norm(width, width, 3))
        else:
            self.shallow, self.decoder = None, conv_norm(dim, width, 3)
        self.classifier = nn.Conv2d(width, num_classes, 1)
        self.aux = auxiliary_head(backbone.channels[2], num_classes) if aux else None
        self.low_scale, self.multiple = backbone.low_scale, backbone.multiple
        self.memory = memory
        self.initialise()

    def initialise(self) -> None:
        """As in the release: Kaiming-normal convolutions outside the backbone, memory parameters near zero."""
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
        """Segment ``images`` (N,3,H,W, normalised); the memory reads ``items`` (S,C), by default the stored ones."""
        low, mid, features, whitened = self.encoder(images)
        x, reading = self.refine(features, low, items=items, gumbel=gumbel)
        del low  # frees it when no gradients are needed; the decoder has the highest use of memory
        x = self.decoder(x)
        aux = self.aux(mid) if self.training and self.aux is not None else None
        return SegOutput(self.classifier(x), images.shape[-2:], aux, features, reading, list(whitened), self.multiple)

    def refine(
        self, features: Tensor, low: Tensor, *, items: Tensor | None = None, gumbel: bool = False
    ) -> tuple[Tensor, Reading | None]:
        """What the decoder sees of an ``Encoding`` with ``features`` and ``low``, and how the memory was read.

        With a skip connection N,C+48,H/4,W/4 (H/8,W/8 of a ViT): refined features and first stage.  Otherwise N,C,h,w.
        """
        x, reading = features, None
        if self.memory is not None:
            reading = self.memory.read(x, self.memory.items if items is None else items, gumbel=gumbel)
            x = reading.features
        if self.shallow is not None:
            size = tuple(self.low_scale * side for side in low.shape[-2:])
            x = torch.cat([resize(self.shallow(low), size), resize(x, size)], dim=1)
        return x, reading


def auxiliary_head(cin: int, num_classes: int) -> nn.Sequential:
    norm_act = nn.BatchNorm2d(512), nn.ReLU(inplace=True), nn.Dropout2d(0.1)
    return nn.Sequential(nn.Conv2d(cin, 512, 3, padding=1), *norm_act, nn.Conv2d(512, num_classes, 1))


def build_network(
    arch: str,
    num_classes: int,
    *,
    memory: CategoricalMemory | None = None,
    dim: int = 256,
    decoder_dim: int | None = None,
    output_stride: int | None = None,
    wt_layer: Sequence[int] = NO_NORMS,
    pretrained: str = "none",
    aux: bool = True,
    image_in: bool = False,
    tune: str = "all",
    norms: str = "rest",
) -> DeepLab:
    """The network that ``arch`` names; ``output_stride`` (8, 16, 32) overrides the one in its name.

    ``tune`` and ``norms`` say what of the encoder trains, see ``network/tuning.py``.
    """
    backbone = build_backbone(arch, output_stride, pretrained=pretrained, wt_layer=wt_layer, image_in=image_in)
    widths = {"dim": dim, "decoder_dim": decoder_dim, "output_stride": backbone.strides[-1]}
    net = DeepLab(backbone, num_classes, head=lookup_arch(arch).head, memory=memory, aux=aux, **widths)
    choose_trained(backbone, tune, norms)
    return net
