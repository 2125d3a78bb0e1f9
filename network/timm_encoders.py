"""Encoders of timm: pyramids of convolutions, and plain vision transformers, whose maps all have one stride.

An encoder is what ``network.backbones.Backbone`` is: it maps images to four maps, and says their ``strides`` and
``channels``, by what the decoder enlarges the first map (``low_scale``), the ``multiple`` of which it pads the sides of
images, its ``blocks``, and how images are normalised (``normalised_by``).
"""

import difflib
from functools import cache
from typing import NamedTuple

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from network.archs import TIMM
from network.pretrained import load_timm_weights, timm_download, weights_of_file
from utils.errors import UsageError

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # as ``datasets.transforms`` normalises images
PATCH, RESAMPLED = 16, 14  # patches of 14 pixels become 16: all crops and strides then fit
LOW_SCALE = 2  # the decoder of a ViT works at twice the resolution of its maps
GATES = "SEModule", "SqueezeExcite", "EffectiveSEModule", "GlobalResponseNorm"  # by means over a whole map
TOLERANCE = 1e-3  # relative difference of a dilated map; mistakes are above .04, rounding below 1e-6


class Facts(NamedTuple):
    """What is known of an encoder before its weights exist."""

    settings: dict[str, object]  # for ``timm.create_model``
    indices: tuple[int, ...]  # of the four maps
    strides: tuple[int, ...]
    channels: tuple[int, ...]
    multiple: int  # of which the sides of images must be, for the maps to cover them
    plain: bool  # a plain ViT
    note: str  # why the last stride is not the wanted one, or ''


def check_name(name: str) -> None:
    """UsageError if timm has no model ``name``, such as 'resnet50' or 'resnet50.tv_in1k'."""
    known = timm.list_pretrained() if "." in name else timm.list_models()
    if name in known:
        return
    close = difflib.get_close_matches(name, known, n=4)
    hint = f"close names: {', '.join(close)}" if close else "timm.list_models() lists all names"
    raise UsageError(f"--arch {TIMM}{name}: timm {timm.__version__} has no such model; {hint}")


@cache
def facts_of(name: str, stride: int) -> Facts:
    """The facts of timm's encoder ``name`` whose last map shall have ``stride``.  UsageError if it is unfit."""
    check_name(name)
    with torch.device("meta"):  # without values
        net = timm.create_model(name, features_only=True)
        strides = net.feature_info.reduction()
        return vit_facts(name, stride) if len({*strides}) == 1 else pyramid_facts(name, stride, net)


def unfit(name: str, why: str) -> UsageError:
    remedy = "take a pyramid of convolutions or a plain ViT that takes any image size (docs/encoders.md)"
    return UsageError(f"--arch {TIMM}{name}: cannot be the encoder here ({why}); {remedy}")


def vit_facts(name: str, wanted: int) -> Facts:
    settings: dict[str, object] = {"num_classes": 0, "dynamic_img_size": True}
    try:
        net = timm.create_model(name, **settings)
        if net.patch_embed.patch_size[0] == RESAMPLED:
            settings["patch_size"] = PATCH
            net = timm.create_model(name, **settings)
    except TypeError as error:
        raise unfit(name, "it has no setting dynamic_img_size") from error
    stride, depth = net.patch_embed.patch_size[0], len(net.blocks)
    if stride != net.feature_info[-1]["reduction"]:
        raise unfit(name, "it has convolutions before its blocks")
    indices = tuple(round(depth * quarter / 4) - 1 for quarter in (1, 2, 3, 4))
    note = "" if stride == wanted else f"it has one stride, {stride}, not {wanted}"
    return Facts(settings, indices, (stride,) * 4, (net.embed_dim,) * 4, stride, True, note)


def pyramid_facts(name: str, wanted: int, net: nn.Module) -> Facts:
    indices = tuple(net.feature_info.out_indices)[-4:]
    own = net.feature_info.reduction()[-1]
    settings: dict[str, object] = {"features_only": True, "out_indices": indices}
    note = ""
    if len(indices) < 4:
        raise unfit(name, f"it has {len(indices)} maps, not 4")
    if wanted != own and dilates(name, own // wanted, settings | {"output_stride": wanted}):
        settings["output_stride"] = wanted
    elif wanted != own:
        note = f"timm cannot dilate it to stride {wanted}, so it runs at its own, {own}"
    net = timm.create_model(name, **settings).eval()
    strides, channels = net.feature_info.reduction(), net.feature_info.channels()
    side = 2 * strides[-1] + 1
    try:
        maps = net(torch.empty(1, 3, side, side))
    except Exception as error:  # of any kind
        raise unfit(name, "it takes images of some sizes only") from error
    if [x.shape[1] for x in maps] != channels:
        raise unfit(name, "its maps have the channels last")
    covers = all(x.shape[-1] == -(-side // stride) for x, stride in zip(maps, strides, strict=True))
    return Facts(settings, indices, tuple(strides), tuple(channels), 1 if covers else strides[-1], False, note)


@torch.no_grad()
def dilates(name: str, factor: int, settings: dict[str, object]) -> bool:
    """Whether dilation is right: each ``factor``-th pixel of the last map is as without dilation.

    Both get the same random weights.  Gates by means over the map see more pixels with dilation, so they are left out.
    """
    try:
        nets = [timm.create_model(name, **each).eval() for each in (settings, settings | {"output_stride": 32})]
    except Exception:  # of any kind: timm's models refuse it in many ways
        return False
    for net in nets:
        for path, module in list(net.named_modules()):
            if type(module).__name__ in GATES:
                net.set_submodule(path, nn.Identity())
    generator = torch.Generator().manual_seed(0)
    with torch.device("cpu"):
        entries = (*nets[0].named_parameters(), *nets[0].named_buffers())
        state = {key: random_like(key, x, generator) for key, x in entries}
        images = torch.randn(1, 3, 128, 128, generator=generator)
        dilated, own = (functional_call(net, state, (images,))[-1] for net in nets)
    if dilated.shape[-1] != factor * own.shape[-1]:
        return False
    return bool((dilated[..., ::factor, ::factor] - own).norm() < TOLERANCE * own.norm())


def random_like(key: str, x: Tensor, generator: torch.Generator) -> Tensor:
    """Values for a parameter or buffer that keep the scale of the maps and let every branch of a block count."""
    if not x.is_floating_point():
        return torch.zeros(x.shape, dtype=x.dtype)
    if x.ndim > 1:
        return torch.randn(x.shape, generator=generator) * x[0].numel() ** -0.5
    if key.endswith(("weight", "gamma", "running_var")):
        return torch.rand(x.shape, generator=generator) / 2 + 0.75
    return torch.randn(x.shape, generator=generator) / 10


class TimmEncoder(nn.Module):
    """timm's encoder ``name``, e.g. 'convnext_tiny' or 'vit_small_patch14_dinov2'.

    ``forward`` maps images (N,3,H,W, normalised by ImageNet) to four feature maps.  It renormalises the images as the
    encoder wants them, unless they are normalised by themselves (``image_in``), and pads them at the right and below to
    multiples of ``multiple``.  The maps of a ViT are those behind each quarter of its blocks, with its last norm.
    """

    def __init__(self, name: str, output_stride: int, *, pretrained: str = "none", image_in: bool = False) -> None:
        super().__init__()
        facts = facts_of(name, output_stride)
        self.strides, self.channels = facts.strides, facts.channels
        self.multiple, self.note = facts.multiple, facts.note
        self.low_scale = LOW_SCALE if facts.plain else 1
        self.indices = list(facts.indices) if facts.plain else None
        settings = facts.settings
        make = timm_download if pretrained == "imagenet" else timm.create_model
        self.net = make(name, **settings)
        if facts.plain:
            self.net.prune_intermediate_layers(self.indices, prune_head=True)
        if pretrained not in ("imagenet", "none"):
            whole = {key: value for key, value in settings.items() if facts.plain and key != "num_classes"}
            load_timm_weights(self.net, weights_of_file(pretrained), pretrained, name=name, settings=whole)
        own = self.net.pretrained_cfg["mean"], self.net.pretrained_cfg["std"]
        self.normalised_by = "ImageNet" if own == IMAGENET else f"mean {own[0]}, deviation {own[1]}"
        target = IMAGENET if image_in else own
        (mean, std), (own_mean, own_std) = (torch.tensor(x).view(2, 3, 1, 1) for x in (IMAGENET, target))
        self.register_buffer("scale", std / own_std)
        self.register_buffer("shift", (mean - own_mean) / own_std)

    def forward(self, images: Tensor) -> list[Tensor]:
        x = images * self.scale + self.shift
        if self.multiple > 1:
            height, width = x.shape[-2:]
            rest = self.multiple - 1  # ``network.deeplab.full_size`` says why not -width % self.multiple
            x = F.pad(x, (0, rest - (width + rest) % self.multiple, 0, rest - (height + rest) % self.multiple))
        if self.indices is None:
            return list(self.net(x))
        return list(self.net.forward_intermediates(x, indices=self.indices, norm=True, intermediates_only=True))

    @property
    def blocks(self) -> list[nn.Module]:
        """The blocks of a ViT, else the stages: the parts with more than one matrix of weights."""
        parts = []
        for name, child in self.net.named_children():
            parts += child.children() if name == "blocks" else [child]
        return [part for part in parts if sum(param.ndim > 1 for param in part.parameters()) > 1]
