"""How far single precision may be from the exact result, whichever processor computes it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from support.golden import assert_close, hold, spread_of

# docs/parity.md explains both numbers.
MARGIN = 4  # the estimate is one draw of errors that depend on each other; and norms round several times inside
TERMS = 16  # units of roundoff for sums inside of an operation, and for an estimate that is small by chance
FLOOR = TERMS * 2**-24

Results = dict[str, Tensor]


class SingleRounding(TorchDispatchMode):
    """Computes in double precision, but every result gets the rounding error of single precision.

    An operation that computes each number by itself rounds once.  A sum of n numbers that are added one after the other
    has about sqrt(n / 2) times that error, as every addition rounds a partial sum (Higham and Mary, A New Approach to
    Probabilistic Rounding Error Analysis, 2019).  Kernels that add in another order have smaller errors.
    """

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if function.is_view:
            return result
        changed = args[0] if result is None and args else result  # as some operations that work in place
        terms = summed(function.overloadpacket.__name__, args)
        largest = max((x.numel() for x in tree_leaves(args) if isinstance(x, Tensor)), default=0)

        def roughen(x: Tensor) -> Tensor:
            if x.dtype != torch.float64:
                return x
            added = max(terms, largest // max(x.numel(), 1))  # a result smaller than what it is made from is a sum
            return x.add_(x.float() - x, alpha=max(1.0, (added / 2) ** 0.5))

        tree_map_only(Tensor, roughen, changed)
        return result


def summed(operation: str, args: tuple) -> int:
    """The largest number of terms that ``operation`` adds up for one number of its result, if its shape hides that."""
    if operation == "convolution":
        return args[1][0].numel()
    if operation == "convolution_backward":
        gradient, _, weight = args[:3]
        return max(gradient[:, 0].numel(), weight[:, 0].numel())
    if operation in ("mm", "bmm"):
        return args[0].shape[-1]
    if operation == "addmm":
        return args[1].shape[-1]
    if operation in ("_softmax", "_log_softmax"):
        return args[0].shape[args[1]]
    return 1


def in_three_ways(compute: Callable[[torch.dtype], Results]) -> tuple[Results, Results, Results]:
    """Results in single precision, in double precision, and in double precision with estimated rounding errors."""
    single, exact = compute(torch.float32), compute(torch.float64)
    with SingleRounding():
        return single, exact, compute(torch.float64)


def assert_rounding_explains(golden: np.ndarray, single: Tensor, exact: Tensor, rough: Tensor, what: str) -> float:
    """The golden and our float32 result are as near to our ``exact`` result as rounding in float32 allows.

    That is MARGIN times the largest estimated error, of ``rough``, and FLOOR of the golden's largest number.  Returns
    it relative to the golden's spread.
    """
    theirs = np.asarray(golden, dtype=np.float64)
    spread, largest = spread_of(theirs), np.abs(theirs).max()
    allowed = (MARGIN * float((rough - exact).abs().max()) + FLOOR * largest) / spread
    assert_close(exact, golden, allowed, what)
    hold(golden, f"{what} in float32", float((single - exact).abs().max()) / spread, allowed)
    return allowed


def assert_rounding_explains_most(
    golden: np.ndarray, single: Tensor, exact: Tensor, rough: Tensor, scale: Tensor, what: str
) -> None:
    """The same for nine tenths of many numbers, each divided by its ``scale``.

    Where rounding changes the sign of an activation, single gradients move further than any estimate.
    """

    def error(numbers: Tensor) -> float:
        return float(((numbers - exact) / scale).abs().double().quantile(0.9))

    allowed = MARGIN * error(rough) + FLOOR
    hold(golden, what, error(torch.from_numpy(np.asarray(golden, dtype=np.float64))), allowed)
    hold(golden, f"{what} in float32", error(single), allowed)
