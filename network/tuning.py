"""Which weights of an encoder train: all, none, the last blocks, or low-rank updates (``--tune`` and ``--norms``)."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from utils.errors import UsageError

BACKBONE = "encoder.backbone."  # begins the names of a backbone's weights in a network


class LowRankLinear(nn.Linear):
    """A linear layer whose frozen weight W gets a trained update of low rank: y = (W + up down) x + b.

    Source: Hu et al. 2022, "LoRA: Low-rank adaptation of large language models".  ``up`` (out,R) starts at zero.
    """

    def __init__(self, base: nn.Linear, rank: int) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = base.in_features, base.out_features
        self.weight, self.bias = base.weight, base.bias
        self.down = nn.Parameter(torch.empty_like(base.weight[:rank]))
        self.up = nn.Parameter(torch.zeros_like(base.weight[:, :1]).repeat(1, rank))
        nn.init.normal_(self.down, std=base.in_features**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return _UpdatedLinear.apply(x, self.weight, self.bias, self.down, self.up)
        return F.linear(x, self.merged(), self.bias)

    def merged(self) -> Tensor:
        return torch.addmm(self.weight, self.up, self.down)


class _UpdatedLinear(torch.autograd.Function):
    """Adding the update to W costs less than applying it to all tokens, and no gradient of W is computed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor) -> Tensor:
        merged = torch.addmm(weight, up, down)
        ctx.save_for_backward(x, merged, down, up)
        return F.linear(x, merged, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """g (W + up down) of x, (up' g') x of down, ((down x') g)' of up: R rows cost a third of R columns."""
        x, merged, down, up = (tensor.to(grad.dtype) for tensor in ctx.saved_tensors)
        of_x = grad @ merged if ctx.needs_input_grad[0] else None
        grad, x = grad.flatten(0, -2), x.flatten(0, -2)
        return of_x, None, None, (up.T @ grad.T) @ x, ((down @ x.T) @ grad).T


def choose_trained(backbone: nn.Module, tune: str, norms: str) -> None:
    """Freeze what does not train, and add low-rank updates.

    ``tune`` is 'all', 'head' (nothing of the backbone), 'last:N' (the last N blocks and what follows them) or 'lora:R'
    (updates of rank R of all linear layers in the blocks).  ``norms`` is 'rest' (they train like the weights around
    them), 'train' or 'freeze'.
    """
    kind, _, number = tune.partition(":")
    layers, depth = layers_of(backbone)
    if kind == "last" and int(number) > depth:
        raise UsageError(f"--tune {tune}: the encoder has {depth} blocks; give last:{depth} or less, or all")
    first = {"all": 0, "last": depth + 1 - int(number or 0)}.get(kind, depth + 1)
    for name, param in backbone.named_parameters():
        if layers[name] < first:
            param.requires_grad_(False)
    for norm in (module for module in backbone.modules() if "Norm" in type(module).__name__):
        for param in norm.parameters(recurse=False) if norms != "rest" else ():
            param.requires_grad_(norms == "train")
    if kind == "lora":
        add_low_rank_updates(backbone, int(number))


def layers_of(backbone: nn.Module) -> tuple[dict[str, int], int]:
    """For each parameter of a backbone the number of blocks that have begun there, 0 in the stem; and all blocks."""
    blocks = backbone.blocks
    firsts = {id(next(block.parameters())): number for number, block in enumerate(blocks, start=1)}
    layers, layer = {}, 0
    for name, param in backbone.named_parameters():
        layer = layers[name] = firsts.get(id(param), layer)
    return layers, len(blocks)


def add_low_rank_updates(backbone: nn.Module, rank: int) -> None:
    parents = [module for block in backbone.blocks for module in block.modules()]
    places = [(parent, *item) for parent in parents for item in parent.named_children() if type(item[1]) is nn.Linear]
    if not places:
        raise UsageError(f"--tune lora:{rank}: its blocks have no linear layers; give last:N, head or all")
    narrowest = min(min(layer.weight.shape) for _, _, layer in places)
    if rank > narrowest:
        raise UsageError(
            f"--tune lora:{rank}: a layer of the encoder has {narrowest} channels; give {narrowest} or less"
        )
    for parent, name, layer in places:
        setattr(parent, name, LowRankLinear(layer, rank))
        if hasattr(parent, "qkv_bias_separate"):  # timm's EVA would use the weight of ``qkv`` without calling it
            parent.qkv_bias_separate = True


def frozen_entries(net: nn.Module) -> Iterator[str]:
    """The names of the entries of the network's backbone that training leaves as they are."""
    backbone = net.encoder.backbone
    for name, param in backbone.named_parameters():
        if not param.requires_grad:
            yield BACKBONE + name
    for name, module in backbone.named_modules():
        if isinstance(module, _BatchNorm) and not module.weight.requires_grad:
            yield from (f"{BACKBONE}{name}.{buffer}" for buffer, _ in module.named_buffers(recurse=False))
