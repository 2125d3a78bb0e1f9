"""Means with their uncertainty."""

from collections.abc import Sequence
from statistics import fmean, stdev


def shown(values: Sequence[float], *, sign: str = "") -> str:
    """The mean of shares in percent, and the margin of its 95 % interval (Student's t) if there are several.

    ``sign`` '+' shows the sign of the mean.
    """
    mean = f"{100 * fmean(values):{sign}.1f}"
    if len(values) == 1:
        return mean
    from scipy.stats import t  # slow to import

    margin = t.ppf(0.975, len(values) - 1) * stdev(values) / len(values) ** 0.5
    return f"{mean} ± {100 * margin:.1f}"
