"""Activation checkpointing (Chen et al. 2016, "Training deep nets with sublinear memory cost")."""

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from network.instance_norms import WhiteningNorm


def recomputed(module: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
    """``module(*args, **kwargs)``, keeping only these for the backward pass, which computes the rest again.

    It uses the weights of the first call, even if that was inside a ``functional_call``, and copies of the buffers: the
    running statistics of batch norm must not be updated twice.
    """
    params, buffers = dict(module.named_parameters()), dict(module.named_buffers())
    norms = [norm for norm in module.modules() if isinstance(norm, WhiteningNorm)]
    again = False

    def run(*args: Any, **kwargs: Any) -> Tensor:
        nonlocal again
        if not again:
            again = True
            return module(*args, **kwargs)
        copies = {name: buffer.clone() for name, buffer in buffers.items()}
        try:
            return functional_call(module, params | copies, args, kwargs)
        finally:  # torch stops the second pass by an exception when it has what it needs
            for norm in norms:
                norm.take()

    return checkpoint(run, *args, use_reentrant=False, **kwargs)


def recompute_in_backward(block: nn.Module) -> None:
    """Let ``block``, which other code calls, be ``recomputed`` from now on, wherever gradients are needed."""
    block.forward = MethodType(_recomputing_forward, block)  # a method, so that copies of the block call themselves


def _recomputing_forward(self: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
    own = _Own(self)
    return recomputed(own, *args, **kwargs) if torch.is_grad_enabled() else own(*args, **kwargs)


class _Own(nn.Module):
    """A block with the ``forward`` of its class."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return type(self.block).forward(self.block, *args, **kwargs)
