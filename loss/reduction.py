"""How the processes that train together share a sum."""

from collections.abc import Callable

from torch import Tensor

from datasets.labels import IGNORE

Reduce = Callable[[Tensor], Tensor]  # sums a tensor over all processes


def alone(x: Tensor) -> Tensor:
    """The sum over all processes where there is but one."""
    return x


def per_valid_pixel(total: Tensor, labels: Tensor, reduce: Reduce) -> Tensor:
    """This process's own ``total`` over the number of pixels of all processes' ``labels`` that are not 255.

    The average over all is then the sum of what each of them returns; without a valid pixel it is 0, not NaN.  Where
    the total is that of a part of a batch, ``labels`` are those of the whole: the average is the sum over parts too.
    """
    return total / reduce((labels != IGNORE).sum()).clamp_min(1)
