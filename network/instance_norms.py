"""The norms that ``--wt_layer`` adds to a backbone, and how they get there.

The flag has seven numbers: one for each of up to three convolutions in the stem, one for the end of each stage.  So
``0 0 4 4 4 0 0`` puts number 4 behind the stem's last convolution (in a ResNet in place of its batch norm) and at the
end of stages 1 and 2.

| number | norm                                                                                               |
|--------|----------------------------------------------------------------------------------------------------|
| 0      | none                                                                                               |
| 1      | instance norm; a loss whitens its output (IW and IRW in RobustNet, Choi et al. 2021)                |
| 2      | instance norm; a loss whitens selected covariance entries of its output (ISW in RobustNet)          |
| 3      | instance norm without scale and shift                                                              |
| 4      | instance norm with scale and shift (IBN-Net, Pan et al. 2018)                                       |
| 5      | switchable whitening (Pan et al. 2019)                                                             |

``network/archs.py`` checks that the network has these places; ``loss/covariance.py`` is the loss of numbers 1 and 2.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import mobilenetv2, resnet, shufflenetv2

from network.switchable_whitening import SwitchableWhitening2d

NO_NORM, WHITENING, SELECTIVE_WHITENING, INSTANCE, INSTANCE_AFFINE, SWITCHABLE = range(6)
NAME = "instance_norm_layer"  # the name of such a norm in the release's files


class WhiteningNorm(nn.InstanceNorm2d):
    """An instance norm without scale and shift that keeps its last output until ``take`` is called."""

    def __init__(self, channels: int):
        super().__init__(channels)
        self.normalised: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.normalised = super().forward(x)
        return self.normalised

    def take(self) -> Tensor:
        """The last output, which is then forgotten, so that the memory of its graph can be freed."""
        normalised, self.normalised = self.normalised, None
        return normalised


NORMS = {
    WHITENING: WhiteningNorm,
    SELECTIVE_WHITENING: WhiteningNorm,
    INSTANCE: nn.InstanceNorm2d,
    INSTANCE_AFFINE: partial(nn.InstanceNorm2d, affine=True),
    SWITCHABLE: SwitchableWhitening2d,
}


def add_stem_norms(stem: nn.Sequential, kinds: Sequence[int], *, batch_norms: Sequence[int]) -> None:
    """Put the norms ``kinds`` (the first three numbers of ``--wt_layer``) into a stem.

    In a ResNet they replace the batch norms at the indices ``batch_norms``; if there is only one, the third number
    applies to it.  In the other networks there is none, and the third number adds a norm to the end of the stem.
    """
    for index, kind in zip(reversed(batch_norms), reversed(kinds), strict=False):
        replace_batch_norm(stem, index, kind)
    if not batch_norms:
        last = [module for module in stem.modules() if isinstance(module, nn.Conv2d)][-1]
        add_norm(stem, kinds[-1], last.out_channels)


def replace_batch_norm(stem: nn.Sequential, index: int, kind: int) -> None:
    """Replace the batch norm at ``index``; the new norm takes over its scale and shift, if it has any."""
    if kind == NO_NORM:
        return
    old = stem[index]
    stem[index] = new = NORMS[kind](old.num_features)
    if kind == INSTANCE_AFFINE:
        new.weight, new.bias = old.weight, old.bias
    stem[index + 1] = nn.ReLU()  # not in place, because a loss reads the norm's output


def add_norm(part: nn.Sequential, kind: int, channels: int) -> None:
    """Add a norm to a stem or stage: at the end, in a ResNet before its last activation, in a ShuffleNet as there."""
    if kind == NO_NORM:
        return
    norm, last = NORMS[kind](channels), part[-1]
    if hasattr(part, NAME):
        setattr(part, NAME, norm)
    elif isinstance(last, resnet.BasicBlock | resnet.Bottleneck):
        part[-1] = NormedResidual(last, norm)
    elif isinstance(last, mobilenetv2.InvertedResidual | shufflenetv2.InvertedResidual):
        last.add_module(NAME, norm)
        last.register_forward_hook(apply_norm)
    else:
        part.add_module(NAME, norm)


def apply_norm(block: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    return block.get_submodule(NAME)(output)


class NormedResidual(nn.Module):
    """A ResNet's block with a norm between its sum and its last activation; the names inside the block stay."""

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
        return F.relu(self.instance_norm_layer(residual + shortcut))  # not in place, because a loss reads the norm
