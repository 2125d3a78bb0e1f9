"""The names of networks, as the release has them: what ``--arch`` may say.  Imports no torch."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from utils.errors import UsageError


class Arch(NamedTuple):
    head: str
    backbone: str
    output_stride: int


BACKBONE_ROWS = {  # as the release names them: the backbone, and its output stride
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
    "R101DeepStem_OS8": ("resnet101_deep_stem", 8),  # ours: the release cannot build the network of RobustNet's files
}


DEEP_STEMS = ("resnet101_deep_stem",)  # of three convolutions, each of which --wt_layer may give a norm
STRIDES = (4, 8, 16, 32)  # of the stages' outputs, where nothing is dilated
SMALL_STRIDES = (8, 16, 32, 32)  # those of the small networks
SMALL = ("mnasnet05", "mnasnet10", "mobilenet_v2", "shufflenet_v2")


def constructor(backbone: str, version: str) -> str:
    """The release's constructor: 'R50_OS8' and 'V3PlusD' make DeepR50V3PlusD_OS8."""
    name, _, stride = backbone.partition("_")
    return f"Deep{name}{version}" + (f"_{stride}" if stride else "")


ARCHS: Mapping[str, Arch] = {  # what --arch may name
    **{f"network.deepv3plus.{constructor(k, 'V3PlusD')}": Arch("v3plus", *row) for k, row in BACKBONE_ROWS.items()},
    **{f"network.deepv3.{constructor(k, 'V3D')}": Arch("v3", *row) for k, row in BACKBONE_ROWS.items()},
    "network.deepv2.DeepR50V2D": Arch("v2", "resnet50_early", 8),
    "network.deepv2.DeepR101V2D": Arch("v2", "resnet101_early", 8),
}


def lookup_arch(name: str) -> Arch:
    """The row that ``--arch`` names, with or without the release's prefix, e.g. ``network.deepv3plus.``."""
    for known, row in ARCHS.items():
        if name in (known, known.rpartition(".")[2]):
            return row
    bare = ", ".join(known.rpartition(".")[2] for known in ARCHS)
    raise UsageError(f"--arch {name}: no such network; known are {bare}")


def check_norms(
    arch: str, wt_layer: Sequence[int], *, output_stride: int | None = None, side: int | None = None
) -> None:
    """UsageError if the network has no place for a norm that ``wt_layer`` asks for, or if crops of ``side`` pixels
    leave a norm a single pixel to go by."""
    row = lookup_arch(arch)
    if any(wt_layer[:2]) and row.backbone not in DEEP_STEMS:
        raise UsageError(
            f"--wt_layer {' '.join(map(str, wt_layer))}: the stem of {arch.rpartition('.')[2]} has one place for a"
            " norm, the third; give 0 for the first two"
        )
    strides = SMALL_STRIDES if row.backbone in SMALL else STRIDES
    for stage, (kind, own) in enumerate(zip(wt_layer[3:], strides, strict=True), start=1):
        stride = min(output_stride or row.output_stride, own)
        if kind and side and side <= stride:
            raise UsageError(
                f"--crop_size {side}: leaves one pixel, by which nothing can be normalised, to the norm that --wt_layer"
                f" puts behind stage {stage}, at a stride of {stride}; give more than {stride}, or 0 there"
            )
