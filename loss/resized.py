"""Cross-entropy of logits that are coarser than the labels, without the resized logits ever being held."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from datasets.labels import IGNORE
from network.deeplab import resize
from network.memory import corners
from utils.precision import at_least_single, full_precision

# Resized logits at once.  Smaller strips, which the caches of a CPU hold, are faster still on an idle machine, but each
# one makes all threads wait for one another ten times, which is slow where processes that load data share the cores.
AT_ONCE = {"cpu": 1 << 22}
AT_ONCE_ELSEWHERE = 1 << 26


def resized_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The sum over the valid pixels of ``labels`` (N,H,W) of the cross-entropy of ``logits`` (N,K,h,w), resized to them
    bilinearly with aligned corners.

    Where they would be large, the resized logits and their gradient are made and used strip by strip, in single
    precision at least.
    """
    at_once = AT_ONCE.get(logits.device.type, AT_ONCE_ELSEWHERE)
    with full_precision(logits.device):
        logits = at_least_single(logits)
        if labels.numel() * logits.shape[1] > at_once:
            return _ResizedCrossEntropy.apply(logits, labels, at_once)
        return F.cross_entropy(resize(logits, labels.shape[-2:]), labels, ignore_index=IGNORE, reduction="sum")


def at_size_of(labels: Tensor, logits: Tensor) -> Tensor:
    """``logits`` (N,K,h,w) resized to ``labels`` (N,H,W), if they differ in size."""
    return logits if logits.shape[-2:] == labels.shape[-2:] else resize(logits, labels.shape[-2:])


class _ResizedCrossEntropy(torch.autograd.Function):
    """The gradient, softmax minus one-hot resized back, costs least where the softmax is, so ``forward`` makes it."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, at_once: int) -> Tensor:
        (height, width), (rows, columns) = logits.shape[-2:], labels.shape[-2:]
        to_rows, to_columns = resizing(height, rows, like=logits), resizing(width, columns, like=logits)
        grads = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        step = max(1, at_once // (logits.shape[1] * columns))
        strips = [(first, min(first + step, rows)) for first in range(0, rows, step)]
        total = logits.new_zeros(())
        for index, target in enumerate(labels):
            wide = logits[index] @ to_columns.T  # K,h,W
            wide_grad = torch.zeros_like(wide)
            for first, last in strips:
                read = slice(*rows_read(first, last, height, rows))
                weights = to_rows[first:last, read]
                log_shares = (weights @ wide[:, read]).log_softmax(dim=0)
                total += F.nll_loss(log_shares[None], target[None, first:last], ignore_index=IGNORE, reduction="sum")
                if grads is not None:
                    wide_grad[:, read] += weights.T @ without_target(log_shares.exp_(), target[first:last])
            if grads is not None:
                grads[index] = wide_grad @ to_columns
        ctx.save_for_backward(grads)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        (grads,) = ctx.saved_tensors
        return upstream * grads, None, None


def without_target(shares: Tensor, target: Tensor) -> Tensor:
    """``shares`` (K,y,x) minus the one-hot of ``target`` (y,x), zeros where it is not valid; in place."""
    valid = (target != IGNORE).to(shares.dtype)[None]
    return shares.mul_(valid).scatter_add_(0, target.clamp_max(len(shares) - 1)[None], -valid)


def resizing(source: int, target: int, *, like: Tensor) -> Tensor:
    """The matrix (target,source) of a bilinear resize with aligned corners along one axis."""
    matrix = like.new_zeros(target, source)
    for index, weight in zip(*corners(source, target, like.device, like.dtype), strict=True):
        matrix.scatter_add_(1, index[:, None], weight[:, None])
    return matrix


def rows_read(first: int, last: int, source: int, target: int) -> tuple[int, int]:
    """Which source rows the target rows from ``first`` to before ``last`` read, and one more on both sides, since the
    weights are rounded."""
    ratio = (source - 1) / max(target - 1, 1)
    return max(0, int(first * ratio) - 1), min(source, int((last - 1) * ratio) + 3)
