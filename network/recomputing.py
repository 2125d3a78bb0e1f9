"""Activation checkpointing (Chen et al. 2016, "Training deep nets with sublinear memory cost")."""

from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from network.instance_norms import WhiteningNorm


def recomputed(module: nn.Module, x: Tensor) -> Tensor:
    """``module(x)``, keeping only ``x`` for the backward pass, which computes the rest again.

    It uses the weights of the first call, even if that was inside a ``functional_call``, and copies of the buffers: the
    running statistics of batch norm must not be updated twice.
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
        finally:  # torch stops the second pass by an exception when it has what it needs
            for norm in norms:
                norm.take()

    return checkpoint(run, x, use_reentrant=False)
