"""Learning-rate schedules as pure functions of the iteration."""

import math


def decay_factor(iteration: int, *, schedule: str, exponent: float, horizon: int) -> float:
    """The learning rate at ``iteration`` as a share of its start.

    ``exp``: exp(-exponent * i / horizon), the release's, with exponent 9 and horizon 120,000 it halves every 9,242
    iterations.  ``poly``: (1 - i / horizon) ** exponent, RobustNet's, which reaches zero at the horizon.
    """
    if schedule == "exp":
        return math.exp(-exponent * iteration / horizon)
    return max(0.0, 1 - iteration / horizon) ** exponent
