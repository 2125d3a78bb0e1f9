"""Ways to run a network over an image."""

from torch import Tensor, nn


def whole(net: nn.Module, images: Tensor, *, gumbel: bool = False) -> Tensor:
    """Logits (N,K,H,W) of whole ``images`` (N,3,H,W, normalised) in one pass each."""
    return net(images, gumbel=gumbel).logits
