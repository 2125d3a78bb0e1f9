"""Learning-rate schedules as pure functions of the iteration."""

import math


def decay_factor(iteration: int, *, schedule: str, exponent: float, horizon: int) -> float:
    """The learning rate at ``iteration`` as a share of the first one.

    ``exp`` (the release): exp(-exponent * i / horizon); exponent 9 and horizon 120,000 halve it every 9,242 iterations.
    ``poly`` (RobustNet): (1 - i / horizon) ** exponent; it reaches zero at the horizon.
    """
    if schedule == "exp":
        return math.exp(-exponent * iteration / horizon)
    return max(0.0, 1 - iteration / horizon) ** exponent
