"""What of an encoder trains, as text."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from network.archs import TIMM
from network.options import NetworkOptions

if TYPE_CHECKING:
    from network.deeplab import DeepLab


def special_encoder(options: NetworkOptions) -> bool:
    """Whether the encoder is one of timm's, or does not train as a whole; only then there is a report."""
    return options.arch.startswith(TIMM) or (options.tune, options.norms) != ("all", "rest")


def encoder_lines(net: "DeepLab", options: NetworkOptions) -> Iterator[str]:
    """The strides of the encoder, and the numbers of its parameters and of those that train."""
    backbone = net.encoder.backbone
    note = f"; {backbone.note}" if backbone.note else ""
    yield f"encoder     maps at strides {', '.join(map(str, backbone.strides))}{note}"
    own, own_trained = counts(backbone)
    everything, trained = counts(net)
    norms = {"rest": "", "train": ", norms train", "freeze": ", norms frozen"}[options.norms]
    yield (
        f"trained     {trained:,} of {everything:,} parameters; of the encoder {own_trained:,} of {own:,} "
        f"({own_trained / own:.1%}; --tune {options.tune}{norms})"
    )


def counts(module: "DeepLab") -> tuple[int, int]:
    """The numbers of all parameters and of those that train."""
    params = list(module.parameters())
    return sum(param.numel() for param in params), sum(param.numel() for param in params if param.requires_grad)
