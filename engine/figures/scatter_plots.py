"""Pictures of points in two dimensions, by class and by domain."""

from collections.abc import Collection, Sequence
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from datasets.labels import ClassSet
from utils.files import whole_file

Colour = tuple[float, ...] | str
SOURCE, UNSEEN, ITEM = "o", "x", "^"  # markers of domains that were seen in training, of others, and of memory items


class Point(NamedTuple):
    """The mean feature of a class in an image."""

    domain: str
    image: str
    train_id: int
    feature: np.ndarray  # C


class Cloud(NamedTuple):
    """P points and S memory items, and their places in two dimensions."""

    points: Sequence[Point]
    places: np.ndarray  # P,2
    item_classes: Sequence[int]  # S
    item_features: np.ndarray  # S,C
    item_places: np.ndarray  # S,2
    classes: ClassSet


def draw_cloud(stem: Path, cloud: Cloud, *, sources: Collection[str], note: str) -> None:
    """Write the pictures ``stem``_class and ``stem``_domain as PNG and PDF; ``sources`` were seen in training."""
    for kind, draw in (("class", by_class), ("domain", by_domain)):
        figure = draw(cloud, sources=sources, note=note)
        for suffix in ("png", "pdf"):
            with whole_file(Path(f"{stem}_{kind}.{suffix}")) as partial:
                figure.savefig(partial, format=suffix, bbox_inches="tight", pad_inches=0.05)


def by_class(cloud: Cloud, *, sources: Collection[str], note: str) -> Figure:
    """Points and items in the colours of their classes."""
    palette = [tuple(np.array(colour) / 255) for colour in cloud.classes.colours]
    shown = sorted({*(point.train_id for point in cloud.points), *cloud.item_classes})
    entries = [entry(cloud.classes.names[k], palette[k]) for k in shown]
    entries += [entry("source domain", "black"), entry("unseen domain", "black", UNSEEN)]
    colours = [palette[point.train_id] for point in cloud.points]
    return compose(cloud, colours, [palette[k] for k in cloud.item_classes], entries, sources=sources, note=note)


def by_domain(cloud: Cloud, *, sources: Collection[str], note: str) -> Figure:
    """Points in a colour for each domain, items as outlines."""
    domains = dict.fromkeys(point.domain for point in cloud.points)
    table = matplotlib.colormaps["tab20"].colors  # ten colours, each followed by a light one
    colour_of = dict(zip(domains, cycle([*table[::2], *table[1::2]]), strict=False))
    entries = [
        entry(f"{name} (source)", colour) if name in sources else entry(name, colour, UNSEEN)
        for name, colour in colour_of.items()
    ]
    colours = [colour_of[point.domain] for point in cloud.points]
    return compose(cloud, colours, "none", entries, sources=sources, note=note)


def compose(
    cloud: Cloud,
    colours: Sequence[Colour],
    faces: Sequence[Colour] | str,
    entries: Sequence[Line2D],
    *,
    sources: Collection[str],
    note: str,
) -> Figure:
    """One picture: ``colours`` of the points, ``faces`` of the items, ``entries`` of the legend, ``note`` below.

    The points come in random order, so that no domain or class lies on top of all others.
    """
    figure = Figure(figsize=(6.4, 5), dpi=200)
    axes = figure.add_axes((0, 0, 1, 1), aspect="equal", adjustable="datalim", xticks=[], yticks=[])
    axes.spines[:].set_color("0.8")
    axes.set_xlabel(note, fontsize=9, color="0.35")
    size = float(np.clip(900 / np.sqrt(len(cloud.points)), 14, 60))  # area of a mark: large for few points
    order = np.random.default_rng(0).permutation(len(cloud.points)).tolist()
    for marker, seen, edge in ((SOURCE, True, 0.0), (UNSEEN, False, 1.2)):
        if chosen := [index for index in order if (cloud.points[index].domain in sources) == seen]:
            shown = {"c": [colours[index] for index in chosen], "marker": marker, "linewidths": edge, "alpha": 0.75}
            axes.scatter(*cloud.places[chosen].T, s=size, **shown)
    if cloud.item_classes:
        edges = {"edgecolors": "black", "linewidths": 1.3}
        axes.scatter(*cloud.item_places.T, s=130, c=faces, marker=ITEM, zorder=3, **edges)
        entries = [*entries, entry("memory item", "white", ITEM)]
    columns = 1 + len(entries) // 25  # none is higher than the plot, and the file is as wide as both
    beside = {"loc": "upper left", "bbox_to_anchor": (1.01, 1), "borderaxespad": 0}
    axes.legend(handles=entries, ncols=columns, frameon=False, fontsize=10, labelspacing=0.35, **beside)
    return figure


def entry(text: str, colour: Colour, marker: str = SOURCE) -> Line2D:
    """A line of the legend."""
    edge = "black" if marker == ITEM else colour
    return Line2D([], [], ls="", marker=marker, ms=7, mew=1.5, mfc=colour, mec=edge, label=text)
