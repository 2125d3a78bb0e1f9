"""How the processes of one training run share a sum."""

from collections.abc import Callable

from torch import Tensor

from datasets.labels import IGNORE

Reduce = Callable[[Tensor], Tensor]  # sums a tensor over all processes


def alone(x: Tensor) -> Tensor:
    """The sum over all processes when there is only one."""
    return x


def per_valid_pixel(total: Tensor, labels: Tensor, reduce: Reduce) -> Tensor:
    """This process's ``total`` divided by the number of valid pixels (not 255) in the ``labels`` of all processes.

    The sum of the results over all processes is the average over all valid pixels; without any it is 0, not NaN.
    If ``total`` belongs to a part of a batch, ``labels`` are those of the whole batch.
    """
    return total / reduce((labels != IGNORE).sum()).clamp_min(1)
