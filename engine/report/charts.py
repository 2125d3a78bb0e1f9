"""Charts as SVG whose colours are those of the page, light or dark; imported only when a report is made."""

import re
from collections.abc import Callable, Sequence
from html import escape
from io import StringIO
from itertools import count
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

SERIES = [f"#0000f{k}" for k in range(8)]  # stand for the page's variables --c0 to --c7
INK, GRID = "#0000e0", "#0000e1"  # --ink and --grid
VARIABLES = {INK: "var(--muted)", GRID: "var(--line)"} | {name: f"var(--c{k})" for k, name in enumerate(SERIES)}
STYLE = {
    "svg.fonttype": "none", "font.size": 8, "axes.spines.top": False, "axes.spines.right": False,
    "axes.edgecolor": GRID, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "text.color": INK,
    "axes.grid": True, "grid.color": GRID, "grid.linewidth": 0.6, "axes.axisbelow": True, "xtick.major.size": 0,
    "ytick.major.size": 0, "legend.frameon": False, "legend.fontsize": 7.5, "lines.linewidth": 1.5,
}  # fmt: skip
BINS = 200  # points of a line, at most
numbers = count()


class Series(NamedTuple):
    """A line of a chart."""

    label: str
    colour: int  # of SERIES
    dashed: bool
    x: Sequence[float]
    y: Sequence[float | None]


def lines(series: Sequence[Series], *, title: str, legend: bool = False, percent: bool = False) -> str:
    """A line per series.  Long ones are drawn as the means of bins, over bands from the least to the largest value."""

    def draw(axes: Axes) -> None:
        for each in series:
            size = -(-len(each.x) // BINS)
            starts = range(0, len(each.x), size)
            y = np.array([np.nan if value is None else value for value in each.y], dtype=float)
            parts = [part[~np.isnan(part)] for part in (y[start : start + size] for start in starts)]
            low, mean, high = ([f(part) if len(part) else np.nan for part in parts] for f in (np.min, np.mean, np.max))
            x = [each.x[start : start + size][-1] for start in starts]
            style = {"ls": (0, (3, 1.5)) if each.dashed else "-", "marker": "o" if len(x) < 3 else None, "ms": 3}
            axes.plot(x, mean, color=SERIES[each.colour % len(SERIES)], label=each.label, **style)
            if size > 1:
                axes.fill_between(x, low, high, color=SERIES[each.colour % len(SERIES)], alpha=0.15, lw=0)
        axes.margins(x=0.01)
        if percent:
            axes.axhline(0, lw=0)  # so that the margin above the largest value is a share of the whole axis
            axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        if legend:
            columns = 2 if len(series) in (2, 4) else 3
            above = {"loc": "lower left", "bbox_to_anchor": (-0.02, 1), "borderaxespad": 0.2, "handlelength": 1.6}
            axes.legend(ncols=columns, **above)

    return chart(draw, title=title)


def reliability(bins: Sequence[dict], *, title: str) -> str:
    """Accuracy over confidence, with the share of the pixels in each bin as bars; on the diagonal both are equal."""

    def draw(axes: Axes) -> None:
        shown = [each for each in bins if each["share"] and each["accuracy"] is not None]
        confidence, accuracy, share = ([each[key] for each in shown] for key in ("confidence", "accuracy", "share"))
        axes.bar(confidence, share, width=0.9 / len(bins), color=SERIES[0], alpha=0.25, lw=0)
        axes.plot([0, 1], [0, 1], color=INK, lw=0.8, ls=(0, (2, 2)))
        axes.plot(confidence, accuracy, color=SERIES[0], marker="o", ms=3)
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy")

    return chart(draw, title=title)


def chart(draw: Callable[[Axes], None], *, title: str) -> str:
    """What ``draw`` draws into axes, as SVG."""
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": f"{next(numbers)}"}):
        figure = Figure(figsize=(3.4, 2.1), layout="constrained")
        draw(figure.add_subplot())
        file = StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    svg = file.getvalue()
    svg = re.sub(r"#0000[ef]\d", lambda found: VARIABLES[found[0]], svg[svg.index("<svg") :])
    svg = re.sub(r"<defs>\s*<style.*?</defs>", "", svg, flags=re.DOTALL)  # would hold for the whole page
    svg = re.sub(r"(font: [\d.]+px |font-family: )[^;\"]+", r"\1var(--font)", svg)
    svg = re.sub("<[^>]+>", shortened, svg)
    box = re.search(r'viewBox="[^"]+"', svg)[0]
    head = f'<svg class="chart" {box} role="img" aria-label="{escape(title)}">'
    return re.sub(r"<svg[^>]+>", lambda _: head, svg, count=1)


def shortened(tag: re.Match) -> str:
    """A tag with two decimals, and without its name, which would stand in the page twice."""
    return re.sub(r"(\.\d\d)\d+| id=\"[\w.]+_\d+\"", r"\1", tag[0])
