"""Activation checkpointing (Chen et al. 2016, "Training deep nets with sublinear memory cost")."""

from collections.abc import Iterable
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from network.instance_norms import WhiteningNorm


def recompute_in_backward(blocks: Iterable[nn.Module]) -> None:
    """Let each block keep only its inputs for the backward pass, which computes the rest again."""
    for block in blocks:
        block.forward = MethodType(_forward, block)  # a method, so that copies of the block call themselves


def _forward(self: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
    """The second pass uses the weights of the first, even if that was inside a ``functional_call``.

    It gets copies of the buffers: the running statistics of batch norm must not be updated twice.
    """
    own = _Own(self)
    if not torch.is_grad_enabled():
        return own(*args, **kwargs)
    params, buffers = dict(own.named_parameters()), dict(own.named_buffers())
    norms = [norm for norm in self.modules() if isinstance(norm, WhiteningNorm)]
    again = False

    def run(*args: Any, **kwargs: Any) -> Tensor:
        nonlocal again
        if not again:
            again = True
            return own(*args, **kwargs)
        copies = {name: buffer.clone() for name, buffer in buffers.items()}
        try:
            return functional_call(own, params | copies, args, kwargs)
        finally:  # torch stops the second pass by an exception when it has what it needs
            for norm in norms:
                norm.take()

    return checkpoint(run, *args, use_reentrant=False, **kwargs)


class _Own(nn.Module):
    """A block with the ``forward`` of its class."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return type(self.block).forward(self.block, *args, **kwargs)
