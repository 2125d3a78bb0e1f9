"""Means with their uncertainty."""

from collections.abc import Sequence
from statistics import fmean, stdev


def mean_and_margin(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean and half the width of its 95 % interval by Student's t distribution; None for a single value."""
    if len(values) == 1:
        return values[0], None
    from scipy.stats import t  # slow to import

    return fmean(values), float(t.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5


def shown(values: Sequence[float], *, sign: str = "") -> str:
    """Shares in percent: their mean, and the margin if there are several.  ``sign`` '+' shows the sign of the mean."""
    mean, margin = mean_and_margin(values)
    return f"{100 * mean:{sign}.1f}" + ("" if margin is None else f" ± {100 * margin:.1f}")
