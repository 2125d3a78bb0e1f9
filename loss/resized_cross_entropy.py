"""Cross-entropy of logits that are coarser than the labels, without holding the logits at the size of the labels."""

from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from datasets.labels import IGNORE
from utils.precision import at_least_single, full_precision

STRIP = 1 << 18  # logits in one strip of rows on a CPU, so that they stay in its cache


def resized_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The summed cross-entropy of ``logits`` (N,K,h,w), resized to ``labels`` (N,H,W), over the valid pixels.

    The resize is bilinear with aligned corners, in single precision at least.  Only one image at a time is resized, on
    a CPU only a strip of its rows: for 8 crops of 768 x 768 and 19 classes, the whole batch would take 1 GB.
    """
    with full_precision(logits.device):
        return _ResizedCrossEntropy.apply(at_least_single(logits), labels)


class _ResizedCrossEntropy(torch.autograd.Function):
    """``forward`` computes the gradient too, because the softmax of a strip is not kept until ``backward``."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor) -> Tensor:
        (images, classes, height, width), (rows, columns) = logits.shape, labels.shape[-2:]
        to_rows, to_columns = resizing(height, rows, like=logits), resizing(width, columns, like=logits)
        wide = logits @ to_columns.T  # N,K,h,W
        total, grads = logits.new_zeros(()), torch.zeros_like(wide)
        step = max(1, STRIP // (classes * columns)) if logits.device.type == "cpu" else rows
        for image, first in product(range(images), range(0, rows, step)):
            strip = slice(first, min(first + step, rows))
            near = rows_to_read(strip, height, rows)
            with torch.enable_grad():
                source = wide[image, None, :, near].detach().requires_grad_()
                resized = to_rows[strip, near] @ source
                loss = summed_cross_entropy(resized, labels[image, None, strip])
            grads[image, :, near] += torch.autograd.grad(loss, source)[0][0]
            total += loss.detach()
        ctx.save_for_backward(grads @ to_columns)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        (grads,) = ctx.saved_tensors
        return upstream * grads, None


def summed_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The sum over the valid pixels of ``labels`` (N,H,W), for ``logits`` (N,K,H,W).

    On CUDA, 'sum' adds in any order; with deterministic algorithms there is a map of losses, which is summed in one.
    """
    reduction = "none" if torch.are_deterministic_algorithms_enabled() else "sum"
    return F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction=reduction).sum()


def resizing(source: int, target: int, *, like: Tensor) -> Tensor:
    """The matrix (target,source) of a linear resize with aligned corners: max(0, 1 - distance of both pixels)."""
    pixels = torch.arange(source, dtype=like.dtype, device=like.device)
    positions = torch.arange(target, dtype=like.dtype, device=like.device) * ((source - 1) / max(target - 1, 1))
    return (1 - (positions[:, None] - pixels).abs()).clamp_min(0)


def rows_to_read(strip: slice, source: int, target: int) -> slice:
    """Which of ``source`` rows a resize to ``target`` rows reads for a strip of the latter."""
    first, last = (row * (source - 1) // max(target - 1, 1) for row in (strip.start, strip.stop - 1))
    return slice(first, last + 2)
