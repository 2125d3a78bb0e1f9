"""Learning-rate schedules as pure functions of the iteration.  Imports no torch."""

import math
from dataclasses import dataclass

from utils.options import ANY, COUNT, FACTOR, SHARE, WEIGHT, number, option

FRACTION = number(float, 0.01, 1)
RATES = {"sgd": {"lr": 0.01, "weight_decay": 5e-4}, "adamw": {"lr": 1e-4, "weight_decay": 0.05}}  # where none is given


@dataclass(frozen=True)
class OptimizerOptions:
    """The optimizer and its learning-rate schedule."""

    optimizer: str = option("sgd", "how the weights are updated", choices=("sgd", "adamw"))
    lr: float = option(0.01, "learning rate at the start (default: 0.01; adamw: 0.0001)", by_recipe=True, type=FACTOR)
    momentum: float = option(0.9, "momentum of SGD", type=SHARE)
    weight_decay: float = option(
        5e-4, "weight decay of all parameters (default: 0.0005; adamw: 0.05)", by_recipe=True, type=WEIGHT
    )
    layer_decay: float = option(1.0, "learning rate of each block of the encoder as a share of the next", type=FRACTION)
    warmup: int = option(0, "iterations in which the learning rate rises from 0", type=ANY)
    clip: float = option(0.0, "largest norm of a step's gradient; 0: any", flag="clip_grad", type=WEIGHT)
    schedule: str = option(
        "exp",
        "decay of the learning rate",
        flag="lr_schedule",
        choices=("exp", "poly"),
    )
    exponent: float | None = option(
        None, "the schedule's exponent (default: 9 for exp, 0.9 for poly)", flag="poly_exp", type=WEIGHT
    )
    horizon: int | None = option(
        None, "iteration at which poly is 0 and exp is exp(-exponent) [recipe]", flag="decay_horizon", type=COUNT
    )

    def rate(self, iteration: int) -> float:
        """The learning rate at ``iteration``."""
        return self.lr * self.factor(iteration)

    def factor(self, iteration: int) -> float:
        """The learning rate at ``iteration`` as a share of the first one."""
        decay = decay_factor(iteration, schedule=self.schedule, exponent=self.exponent, horizon=self.horizon)
        return decay * min(1, (iteration + 1) / self.warmup) if self.warmup else decay


def decay_factor(iteration: int, *, schedule: str, exponent: float, horizon: int) -> float:
    """The learning rate at ``iteration`` as a share of the first one.

    ``exp``: exp(-exponent * i / horizon), as in the authors' release; exponent 9 and horizon 120,000 halve it every
    9,242 iterations.  ``poly``: (1 - i / horizon) ** exponent, as in RobustNet; it reaches zero at the horizon.
    """
    if schedule == "exp":
        return math.exp(-exponent * iteration / horizon)
    return max(0.0, 1 - iteration / horizon) ** exponent
