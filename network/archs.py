"""The networks that ``--arch`` can name: by the release's names, or ``timm:NAME``.  Imports no torch."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from utils.errors import UsageError


class Arch(NamedTuple):
    head: str
    backbone: str
    output_stride: int


TIMM = "timm:"  # begins the name of an encoder of timm, see network/timm_encoders.py
TIMM_STRIDE = 16  # of the last map, where the encoder can
BACKBONES_OF_RELEASE = {  # the release's name: our backbone and its output stride
    "R18": ("resnet18", 32),
    "R50": ("resnet50", 16),
    "R50_OS8": ("resnet50", 8),
    "R101": ("resnet101", 16),
    "R101_OS8": ("resnet101", 8),
    "R152_OS8": ("resnet152", 8),
    "ResNext50": ("resnext50", 16),
    "ResNext101": ("resnext101", 16),
    "ResNext101_OS8": ("resnext101", 8),
    "ResNext101_OS4": ("resnext101", 4),
    "WideResNet50": ("wide_resnet50", 16),
    "WideResNet50_OS8": ("wide_resnet50", 8),
    "WideResNet101": ("wide_resnet101", 16),
    "WideResNet101_OS8": ("wide_resnet101", 8),
    "MNASNet05": ("mnasnet05", 16),
    "MNASNet10": ("mnasnet10", 16),
    "MobileNet": ("mobilenet_v2", 16),
    "MobileNet_OS8": ("mobilenet_v2", 8),
    "ShuffleNet": ("shufflenet_v2", 16),
    "ShuffleNet_OS8": ("shufflenet_v2", 8),
    "ShuffleNet_OS32": ("shufflenet_v2", 32),
    "R101DeepStem_OS8": ("resnet101_deep_stem", 8),  # our name; the release has no such network, RobustNet's files do
}
DEEP_STEMS = ("resnet101_deep_stem",)  # stems of three convolutions; --wt_layer can add a norm behind each
SMALL = ("mnasnet05", "mnasnet10", "mobilenet_v2", "shufflenet_v2")


def constructor(backbone: str, version: str) -> str:
    """The name of the release's constructor, e.g. DeepR50V3PlusD_OS8 for 'R50_OS8' and 'V3PlusD'."""
    name, _, stride = backbone.partition("_")
    return f"Deep{name}{version}" + (f"_{stride}" if stride else "")


ARCHS: Mapping[str, Arch] = {
    **{f"network.deepv3plus.{constructor(k, 'V3PlusD')}": Arch("v3plus", *v) for k, v in BACKBONES_OF_RELEASE.items()},
    **{f"network.deepv3.{constructor(k, 'V3D')}": Arch("v3", *v) for k, v in BACKBONES_OF_RELEASE.items()},
    "network.deepv2.DeepR50V2D": Arch("v2", "resnet50_early", 8),
    "network.deepv2.DeepR101V2D": Arch("v2", "resnet101_early", 8),
}


def short_name(arch: str) -> str:
    """``arch`` without the release's prefix, e.g. ``network.deepv3plus.``."""
    return arch if arch.startswith(TIMM) else arch.rpartition(".")[2]


def lookup_arch(name: str) -> Arch:
    """The network called ``name``, with or without the release's prefix.  It does not ask timm whether it knows it."""
    if name.startswith(TIMM):
        return Arch("v3plus", name, TIMM_STRIDE)
    for known, arch in ARCHS.items():
        if name in (known, short_name(known)):
            return arch
    bare = ", ".join(map(short_name, ARCHS))
    raise UsageError(f"--arch {name}: no such network; known are {bare}, and timm:NAME for the encoders of timm")


def undilated_strides(backbone: str) -> tuple[int, int, int, int]:
    """The strides of the four stages' outputs without dilation."""
    return (8, 16, 32, 32) if backbone in SMALL else (4, 8, 16, 32)


def check_norms(name: str, wt_layer: Sequence[int]) -> None:
    """UsageError if the network ``name`` cannot have the norms ``wt_layer`` (see network/instance_norms.py)."""
    arch = lookup_arch(name)
    if name.startswith(TIMM) and any(wt_layer):
        raise UsageError(f"--wt_layer: {name} has no place for added norms; drop it, or take another --arch")
    if any(wt_layer[:2]) and arch.backbone not in DEEP_STEMS:
        raise UsageError(
            f"--wt_layer {' '.join(map(str, wt_layer))}: the stem of {short_name(name)} has one place for a "
            "norm, the third; give 0 for the first two"
        )
