"""Several processes that train as one, started by ``torchrun``; with a single process all of this does nothing.

Every process ("rank") holds a share of each loss; the sum over the ranks is what is minimised.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from utils.processes import local_rank, world_size


def start(device: torch.device) -> None:
    """Meet the other processes.  CPU tensors go by gloo, those on CUDA devices by NCCL."""
    if world_size() == 1 or dist.is_initialized():
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")


def stop() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


class _AllSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return _AllSum.apply(grad)


def all_sum(x: Tensor) -> Tensor:
    """The sum of ``x`` over all ranks, on every rank.  Differentiable: a rank's ``x`` gets the gradient of the sum of
    all ranks' losses."""
    return _AllSum.apply(x) if world_size() > 1 else x


def all_sums(tensors: list[Tensor], *, like: Iterable[Tensor]) -> list[Tensor]:
    """The sums of ``tensors``, all of one type, over all ranks; one message for all of them, of which they are views.

    They lie in memory as those of ``like`` do, which have their shapes, no gaps, and one layout on all ranks.
    """
    if world_size() == 1:
        return tensors
    flat = torch.empty(sum(x.numel() for x in tensors), dtype=tensors[0].dtype, device=tensors[0].device)
    pieces = flat.split([x.numel() for x in tensors])
    views = [piece.as_strided(x.shape, x.stride()) for piece, x in zip(pieces, like, strict=True)]
    torch._foreach_copy_(views, tensors)
    dist.all_reduce(flat)
    return views


def all_gathered(x: Tensor) -> Tensor:
    """The ``x`` of all ranks, of one size and type, on every rank: stacked in their order, without a gradient."""
    if world_size() == 1:
        return x[None]
    held = x.new_empty(world_size(), *x.shape)
    dist.all_gather(list(held.unbind()), x)
    return held


def share(x: Tensor) -> Tensor:
    """This rank's share of a loss that every rank computes in full."""
    return x / world_size()


def from_first(x: Any) -> Any:
    """What the first rank has as ``x``, on every rank."""
    held = [x]
    if world_size() > 1:
        dist.broadcast_object_list(held)
    return held[0]


def gather(x: Any) -> list[Any]:
    """What every rank has as ``x``, in their order, on every rank."""
    held = [x] * world_size()
    if world_size() > 1:
        dist.all_gather_object(held, x)
    return held


def agreed(x: Any) -> bool:
    """Whether all ranks have the same ``x``."""
    return not any_rank(from_first(x) != x)


@contextmanager
def first_on_machine() -> Iterator[None]:
    """The other processes of a machine enter once its first one has left: what it fetched need not be fetched again."""
    if world_size() > 1 and local_rank() > 0:
        dist.barrier()
    yield
    if world_size() > 1 and local_rank() == 0:
        dist.barrier()


def any_rank(flag: bool) -> bool:
    """Whether the flag is set on some rank."""
    return which_on_any_rank(flag)[0]


def which_on_any_rank(*flags: bool) -> list[bool]:
    """Of each flag, whether it is set on some rank; one message for all of them, which no GPU takes part in."""
    return (all_sum(torch.tensor(flags, dtype=torch.int64)) > 0).tolist()
