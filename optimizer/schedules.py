"""Learning-rate schedules as pure functions of the iteration.  Imports no torch."""

import math
from dataclasses import dataclass

from utils.options import COUNT, FACTOR, SHARE, WEIGHT, option


@dataclass(frozen=True)
class OptimizerOptions:
    """SGD and its learning-rate schedule."""

    lr: float = option(0.01, "learning rate at the start", type=FACTOR)
    momentum: float = option(0.9, "momentum of SGD", type=SHARE)
    weight_decay: float = option(5e-4, "weight decay of all parameters", type=WEIGHT)
    schedule: str = option("exp", "see optimizer/schedules.py", flag="lr_schedule", choices=("exp", "poly"))
    exponent: float | None = option(
        None, "the schedule's exponent (default: 9 for exp, 0.9 for poly)", flag="poly_exp", type=WEIGHT
    )
    horizon: int | None = option(
        None, "iteration at which poly is 0 and exp is exp(-exponent) [recipe]", flag="decay_horizon", type=COUNT
    )

    def rate(self, iteration: int) -> float:
        """The learning rate at ``iteration``."""
        return self.lr * decay_factor(iteration, schedule=self.schedule, exponent=self.exponent, horizon=self.horizon)


def decay_factor(iteration: int, *, schedule: str, exponent: float, horizon: int) -> float:
    """The learning rate at ``iteration`` as a share of the first one.

    ``exp``: exp(-exponent * i / horizon), as in the authors' release; exponent 9 and horizon 120,000 halve it every
    9,242 iterations.  ``poly``: (1 - i / horizon) ** exponent, as in RobustNet; it reaches zero at the horizon.
    """
    if schedule == "exp":
        return math.exp(-exponent * iteration / horizon)
    return max(0.0, 1 - iteration / horizon) ** exponent
