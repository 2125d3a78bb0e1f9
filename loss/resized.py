"""Cross-entropy of logits that are coarser than the labels, without the resized logits ever being held."""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from datasets.labels import IGNORE
from network.categorical_memory import corners
from network.deeplab import resize
from utils.precision import at_least_single, full_precision

# Logits at once: what the caches of a CPU hold of them; few enough, too, that its threads need not wait for one another
# too often where processes that load data share the cores.
AT_ONCE = {"cpu": 1 << 20}
AT_ONCE_ELSEWHERE = 1 << 26
LOWEST = -80.0  # the exponential of less would lose digits in single precision


def resized_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The sum over the valid pixels of ``labels`` (N,H,W) of the cross-entropy of ``logits`` (N,K,h,w), resized to them
    bilinearly with aligned corners.

    Where they would be large, the resized logits and their gradient are made and used some rows at once, in single
    precision at least.
    """
    at_once = AT_ONCE.get(logits.device.type, AT_ONCE_ELSEWHERE)
    with full_precision(logits.device):
        logits = at_least_single(logits)
        if labels.numel() * logits.shape[1] > at_once and 1 < logits.shape[-2] < labels.shape[-2]:
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
        to_columns = resizing(width, columns, like=logits)
        images = max(1, at_once // (logits.shape[1] * height * columns))
        total, grads = logits.new_zeros(()), []
        for part, target in zip(logits.split(images), labels.split(images), strict=True):
            loss, grad = cross_entropy_of_rows(part @ to_columns.T, target, phases(height, rows, logits.device))
            total += loss
            grads.append(grad @ to_columns)
        ctx.save_for_backward(torch.cat(grads))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        (grads,) = ctx.saved_tensors
        return upstream * grads, None, None


def resizing(source: int, target: int, *, like: Tensor) -> Tensor:
    """The matrix (target,source) of a bilinear resize with aligned corners along one axis."""
    matrix = like.new_zeros(target, source)
    for index, weight in zip(*corners(source, target, like.device, like.dtype), strict=True):
        matrix.scatter_add_(1, index[:, None], weight[:, None])
    return matrix


class Phase(NamedTuple):
    """The n-th target row in each gap between two source rows, of the G gaps that have so many."""

    gaps: Tensor | None  # G  which gaps these are; None: all
    rows: Tensor  # G  which rows
    far: Tensor  # G,1  how far they are from the source row above, as a share of the gap; double


@cache
def phases(source: int, target: int, device: torch.device) -> Sequence[Phase]:
    """All rows of a bilinear resize with aligned corners to more rows; kept, since copies make a device wait."""
    firsts = [-(-gap * (target - 1) // (source - 1)) for gap in range(source - 1)]
    counts = [following - first for first, following in pairwise([*firsts, target])]
    found = []
    for n in range(max(counts)):
        gaps = torch.tensor([gap for gap, count in enumerate(counts) if n < count])
        rows = torch.tensor(firsts)[gaps] + n
        far = (rows * (source - 1) - gaps * (target - 1)).double()[:, None] / (target - 1)
        found.append(Phase(None if n < min(counts) else gaps.to(device), rows.to(device), far.to(device)))
    return found


def cross_entropy_of_rows(logits: Tensor, labels: Tensor, phases: Sequence[Phase]) -> tuple[Tensor, Tensor]:
    """The summed cross-entropy of ``logits`` (N,K,h,W), resized to the rows of ``labels`` (N,H,W), and its gradient."""
    lines = Lines(logits, phases[0].far, labels.shape[-2])
    total, of_all = logits.new_zeros(()), torch.zeros_like(lines.above)
    of_far = torch.zeros_like(of_all)
    for phase in phases:
        target = labels[:, None, phase.rows]
        valid = (target != IGNORE).to(logits.dtype)
        target = target.clamp_max(logits.shape[1] - 1)
        logs, grad = lines.at(phase, target, valid)
        total -= (logs * valid).sum()
        grad.scatter_add_(1, target, -valid)
        far = phase.far.to(grad.dtype)
        if phase.gaps is None:
            of_far.addcmul_(grad, far)
            of_all += grad
        else:
            of_far.index_add_(2, phase.gaps, far * grad)
            of_all.index_add_(2, phase.gaps, grad)
    grad = F.pad(of_all - of_far, (0, 0, 0, 1))
    grad[:, :, 1:] += of_far
    return total, grad


class Lines:
    """Logits between two source rows each: linear in the row, so that their odds are geometric sequences.

    One multiplication takes the odds of a phase to those of the next, where otherwise every pixel and class takes an
    exponential.  A GPU takes them in its stride.
    """

    def __init__(self, logits: Tensor, far: Tensor, rows: int):
        logits = logits - logits.amax(dim=1, keepdim=True)
        self.above, self.slope = logits[:, :, :-1], logits.diff(dim=2)
        self.odds: Tensor | None = None
        if logits.device.type == "cpu" and logits.min() > LOWEST:
            self.ratio = (self.slope / ((rows - 1) / (logits.shape[2] - 1))).exp_()
            self.odds = torch.addcmul(self.above, self.slope, far.to(logits.dtype)).exp_().div_(self.ratio)

    def at(self, phase: Phase, target: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """The logarithm of the softmax at the ``target`` (N,1,G,W) of a phase, and the softmax (N,K,G,W), times
        ``valid``."""
        if self.odds is not None and phase.gaps is None:
            total = self.odds.mul_(self.ratio).sum(dim=1, keepdim=True)
            return (self.odds.gather(1, target) / total).log_(), self.odds * (valid / total)
        gaps = slice(None) if phase.gaps is None else phase.gaps
        logits = torch.addcmul(self.above[:, :, gaps], self.slope[:, :, gaps], phase.far.to(valid.dtype))
        logs = logits.log_softmax(dim=1)
        return logs.gather(1, target), logs.exp_().mul_(valid)
