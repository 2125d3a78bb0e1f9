"""Options of the network.  Imports no torch."""

import argparse
import re
from dataclasses import dataclass

from utils.options import COUNT, FACTOR, IGNORE, SHARE, number, option

ARCH = "network.deepv3plus.DeepR50V3PlusD"
NORMS = 7  # places for a norm: behind the stem's three convolutions and at the end of each of the four stages
NORM_HELP = (
    "norms behind the stem's three convolutions and the four stages: 0 none, 1 instance whitening, 2 selective "
    "whitening, 3 instance norm, 4 IBN-Net, 5 switchable whitening"
)
NORM_FLAG = {"type": number(int, 0, 5), "nargs": NORMS}


def tuning(text: str) -> str:
    """An argparse type: all, head, last:N or lora:R."""
    if not re.fullmatch(r"all|head|(last|lora):[1-9]\d{0,3}", text):
        raise argparse.ArgumentTypeError(f"{text}: give all, head, last:N or lora:R, with a number from 1")
    return text


@dataclass(frozen=True)
class NetworkOptions:
    """What decides the network, besides the classes of the data."""

    arch: str = option(ARCH, "the release's name of a network, or timm:NAME; a wrong name lists them all")
    output_stride: int | None = option(None, "overrides the network's own", type=int, choices=(8, 16, 32))
    wt_layer: tuple[int, ...] = option((0,) * NORMS, NORM_HELP, **NORM_FLAG)
    aux: bool = option(True, "no auxiliary head", flag="no_aux_loss")
    slots: int | None = option(
        None, "items of the memory (default: one per class)", flag="mem_slot", type=number(int, 1, IGNORE)
    )
    dim: int = option(256, "width of the features and of a memory item", flag="mem_dim", type=COUNT)
    decoder_dim: int | None = option(None, "width of the decoder (default: 256)", type=COUNT)
    momentum: float = option(0.8, "share of the old item in a write", flag="mem_momentum", type=SHARE)
    read_temp: float = option(1.0, "temperature of the memory's read weights", by_recipe=True, type=FACTOR)
    centred: bool = option(
        False, "compare pixels and items after the mean item was subtracted", flag="mem_centred", by_recipe=True
    )
    residual: bool = option(
        False, "add what is recalled to the features, by a gate that starts at 0", flag="mem_residual", by_recipe=True
    )
    image_in: bool = option(False, "normalise each image by its own mean and deviation, not by ImageNet's")
    pretrained_backbone: str = option("imagenet", "weights of the backbone: imagenet, none or a file")
    tune: str = option(
        "all",
        "what of the backbone trains: all, head (none of it), last:N (blocks), lora:R (updates of rank R)",
        type=tuning,
    )
    norms: str = option(
        "rest",
        "whether the backbone's norms train: like the rest of it, always, or never",
        flag="backbone_norms",
        choices=("rest", "train", "freeze"),
    )
