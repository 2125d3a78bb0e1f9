"""Methods on the networks of tests."""

from typing import Any

from torch import nn

from methods import METHODS
from methods.method import Method
from methods.objective import Objective
from methods.whitening_term import Whitening
from optimizer.optimizers import build_optimizer
from optimizer.schedules import OptimizerOptions

NAMES = list(METHODS)
SGD = OptimizerOptions(exponent=9, horizon=120_000)


def method_on(
    net: nn.Module,
    name: str,
    *,
    optimizer: OptimizerOptions = SGD,
    objective: Objective | None = None,
    whitening: Whitening | None = None,
    parts: int = 1,
    **options: Any,
) -> Method:
    """The method ``name`` on a network; ``options`` are its own, those of other methods are left out."""
    entry = METHODS[name]
    own = {key: value for key, value in options.items() if key in entry.options.__dataclass_fields__}
    objective = objective or Objective(whitening=whitening)
    sgd, schedule = build_optimizer(net, optimizer)
    return entry.load()(net, sgd, schedule, options=entry.options(**own), objective=objective, parts=parts)
