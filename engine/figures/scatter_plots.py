"""Pictures of points in two dimensions, by class and by domain; needs matplotlib."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from datasets.labels import ClassSet
from utils.files import whole_file

Colour = tuple[float, ...]
SOURCE, UNSEEN = "o", "x"  # markers of domains that were seen in training, and of others
DISTINCT = 10  # colours of matplotlib's table
LONG = 14  # entries of a legend that need small letters
LINE, WIDE = 12, 70  # height and width of an item's name, in points


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
    """Write the pictures ``stem``_class and ``stem``_domain as PNG and PDF; ``sources`` are the training domains."""
    for kind, draw in (("class", by_class), ("domain", by_domain)):
        figure = draw(cloud, sources=sources, note=note)
        for suffix in ("png", "pdf"):
            with whole_file(Path(f"{stem}_{kind}.{suffix}")) as partial:
                figure.savefig(partial, format=suffix)


def by_class(cloud: Cloud, *, sources: Collection[str], note: str) -> Figure:
    """Points and items in the colours of their classes."""
    seen = np.array([point.domain in sources for point in cloud.points])
    palette = np.array(cloud.classes.colours) / 255
    train_ids = [point.train_id for point in cloud.points]
    shown = sorted({*train_ids, *cloud.item_classes})
    entries = [entry(cloud.classes.names[k], tuple(palette[k]), SOURCE) for k in shown]
    entries.append(Line2D([], [], ls="", label=" "))  # an empty line
    entries += [entry("source domain", "black", SOURCE, hollow=True)] * bool(seen.any())
    entries += [entry("unseen domain", "black", UNSEEN, hollow=True)] * bool((~seen).any())
    return compose(cloud, palette[train_ids], palette[list(cloud.item_classes)], seen, entries, note)


def by_domain(cloud: Cloud, *, sources: Collection[str], note: str) -> Figure:
    """Points in a colour for each domain, items in white."""
    seen = np.array([point.domain in sources for point in cloud.points])
    domains = list(dict.fromkeys(point.domain for point in cloud.points))
    colour_of = dict(zip(domains, distinct(len(domains)), strict=True))
    entries = [
        entry(f"{name} (source)" if name in sources else name, colour, SOURCE if name in sources else UNSEEN)
        for name, colour in colour_of.items()
    ]
    colours = np.array([colour_of[point.domain] for point in cloud.points])
    return compose(cloud, colours, np.ones((len(cloud.item_classes), 3)), seen, entries, note)


def compose(
    cloud: Cloud, colours: np.ndarray, faces: np.ndarray, seen: np.ndarray, entries: Sequence[Line2D], note: str
) -> Figure:
    """One picture: ``colours`` of the points (P,3), ``faces`` of the items (S,3), which points are ``seen`` (P)."""
    figure = Figure(figsize=(8, 5), dpi=200, layout="constrained")
    axes = figure.add_subplot(aspect="equal", adjustable="datalim", xticks=[], yticks=[])
    axes.spines[:].set_color("0.8")
    axes.set_xlabel(note, fontsize=9, color="0.35")
    draw_points(axes, cloud.places, colours, seen)
    if cloud.item_classes:
        entries = [*entries, Line2D([], [], marker="^", ls="", ms=10, mfc="white", mec="black", label="memory item")]
    style = {"fontsize": 11} if len(entries) <= LONG else {"fontsize": 9, "labelspacing": 0.25}
    figure.legend(handles=entries, loc="outside right upper", frameon=False, handletextpad=0.2, **style)
    if cloud.item_classes:
        draw_items(axes, cloud, faces)
    return figure


def draw_points(axes: Axes, places: np.ndarray, colours: np.ndarray, seen: np.ndarray) -> None:
    """Draw the points in random order: no domain or class lies on top of all others."""
    side = float(np.clip(900 / np.sqrt(len(places)), 14, 60))  # area of a mark: large for few points
    order = np.random.default_rng(0).permutation(len(places))
    for part in np.array_split(order, 20):  # marks of both kinds take turns
        for marker, chosen, edge in ((SOURCE, part[seen[part]], 0.0), (UNSEEN, part[~seen[part]], 1.2)):
            if len(chosen):
                axes.scatter(*places[chosen].T, s=side, c=colours[chosen], marker=marker, linewidths=edge, alpha=0.75)


def draw_items(axes: Axes, cloud: Cloud, faces: np.ndarray) -> None:
    """Draw the memory's items as triangles with black edges, and the names of their classes."""
    axes.scatter(*cloud.item_places.T, s=130, c=faces, marker="^", edgecolors="black", linewidths=1.3, zorder=3)
    axes.figure.draw_without_rendering()  # decides where things lie
    at = axes.transData.transform(cloud.item_places) * 72 / axes.figure.dpi  # in points, as sizes of letters are
    written: list[tuple[float, float]] = []  # the places of the names, from the top
    for index in np.argsort(-at[:, 1]).tolist():
        across, height = at[index]
        crowd = (np.abs(at - at[index]) < (WIDE, 2 * LINE)).all(axis=1).sum()
        above = [y - LINE for x, y in written if abs(x - across) < WIDE]
        place = min([height + LINE * (crowd - 1) / 2 + 4, *above])  # a crowd's names begin above it
        written.append((across, place))
        axes.annotate(
            cloud.classes.names[cloud.item_classes[index]],
            cloud.item_places[index],
            xytext=(14, place - height),
            textcoords="offset points",
            fontsize=9,
            va="center",
            zorder=4,
            arrowprops={"arrowstyle": "-", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0, "relpos": (0, 0.5)},
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )


def entry(text: str, colour: Colour | str, marker: str, *, hollow: bool = False) -> Line2D:
    """A line of the legend."""
    edge = 1.5 if hollow or marker == UNSEEN else 0
    face = "none" if hollow else colour
    return Line2D([], [], marker=marker, ls="", ms=7, mew=edge, mfc=face, mec=colour, label=text)


def distinct(count: int) -> list[Colour]:
    """``count`` colours that differ clearly."""
    if count <= DISTINCT:
        return list(matplotlib.colormaps["tab10"].colors[:count])
    return [tuple(colour) for colour in matplotlib.colormaps["turbo"](np.linspace(0, 1, count))]
