"""Training in several processes, started by ``torchrun``.  With a single process, these functions do nothing.

Every process ("rank") computes a share of each loss; the sum over the ranks is minimised.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from utils.errors import UsageError, first_line
from utils.processes import local_rank, world_size


def start(device: torch.device) -> None:
    """Connect the processes: gloo carries CPU tensors, NCCL those on CUDA devices.  UsageError without a launcher."""
    if world_size() == 1 or dist.is_initialized():
        return
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    except ValueError as error:  # a variable of the launcher is missing
        raise UsageError(f"WORLD_SIZE={world_size()}: {first_line(error)}; start by torchrun, or unset it") from error


def stop() -> None:
    if dist.is_initialized():
        time.sleep(0.05)  # lets gloo's threads free their tensors: torch 2.6 waits for them with Python's lock in hand
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
    """The sum of ``x`` over all ranks, on every rank.

    Differentiable: the gradient of a rank's ``x`` is the gradient of the sum of all ranks' losses.
    """
    return _AllSum.apply(x) if world_size() > 1 else x


@torch.no_grad()  # torch 2.6 refuses to change such views in place otherwise
def all_sums(tensors: list[Tensor], *, like: Iterable[Tensor]) -> list[Tensor]:
    """The sum of each of ``tensors`` over all ranks, in one message.  They must have one dtype.

    The results are views of one flat tensor, with the memory layouts of ``like``.  Those must have the same shapes, no
    gaps, and the same layout on all ranks.
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
    """The tensors ``x`` of all ranks, stacked in rank order; without a gradient.  All have one shape and dtype."""
    if world_size() == 1:
        return x[None]
    gathered = x.new_empty(world_size(), *x.shape)
    dist.all_gather(list(gathered.unbind()), x)
    return gathered


def share(x: Tensor) -> Tensor:
    """This rank's share of a loss that every rank computes in full."""
    return x / world_size()


def from_first(x: Any) -> Any:
    """The ``x`` of the first rank, on every rank."""
    values = [x]
    if world_size() > 1:
        dist.broadcast_object_list(values)
    return values[0]


def gather(x: Any) -> list[Any]:
    """The ``x`` of every rank in rank order, on every rank."""
    values = [x] * world_size()
    if world_size() > 1:
        dist.all_gather_object(values, x)
    return values


def agreed(x: Any) -> bool:
    """Whether all ranks have the same ``x``."""
    return not any_rank(from_first(x) != x)


@contextmanager
def first_on_machine() -> Iterator[None]:
    """Let the first process of each machine go first, so that the others need not fetch again what it has fetched."""
    if world_size() > 1 and local_rank() > 0:
        dist.barrier()
    yield
    if world_size() > 1 and local_rank() == 0:
        dist.barrier()


def any_rank(flag: bool) -> bool:
    """Whether ``flag`` is set on at least one rank."""
    return which_on_any_rank(flag)[0]


def which_on_any_rank(*flags: bool) -> list[bool]:
    """For each flag, whether it is set on at least one rank.  One message between CPUs carries all flags."""
    return (all_sum(torch.tensor(flags, dtype=torch.int64)) > 0).tolist()
