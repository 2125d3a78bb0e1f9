"""Activation checkpointing (Chen et al. 2016, "Training deep nets with sublinear memory cost")."""

from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from network.layer_norms import WhiteningNorm


def recomputed(module: nn.Module, x: Tensor) -> Tensor:
    """``module(x)``, of which only ``x`` is kept for the backward pass: that computes the rest once more.

    It does so at the weights of now, also where these are a ``functional_call``'s, and with copies of the buffers: the
    running statistics of batch norm have moved by then.
    """
    params, buffers = dict(module.named_parameters()), dict(module.named_buffers())
    norms = [norm for norm in module.modules() if isinstance(norm, WhiteningNorm)]
    again = False

    def run(x: Tensor) -> Tensor:
        nonlocal again
        if not again:
            again = True
            return module(x)
        copies = {name: buffer.clone() for name, buffer in buffers.items()}
        try:
            return functional_call(module, params | copies, (x,))
        finally:  # which torch leaves early, by an exception, once it has all that it needs
            for norm in norms:
                norm.take()

    return checkpoint(run, x, use_reentrant=False)
