"""``--tsne``: a point per image and class, the mean of its features, with the memory's items."""

import json
from collections.abc import Collection, Mapping, Sequence
from itertools import chain, cycle
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import torch.nn.functional as F
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from datasets.images import LabelledImages
from datasets.labels import ClassSet
from engine.data_report import role_of
from engine.evaluating.prediction import Predictor
from engine.figures.views import domain_views, shown_classes
from engine.options.evaluation_options import EvaluationOptions
from network.categorical_memory import class_sums
from utils.distributed import gather
from utils.embedding import REMEDY, embed, settings_for
from utils.errors import UsageError
from utils.files import whole_file
from utils.log import counted, log
from utils.packages import need
from utils.precision import at_least_single
from utils.processes import rank

MOST = 10_200  # points, as published
FEWEST = 4
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


def draw_tsne(
    predict: Predictor, options: EvaluationOptions, classes: ClassSet, *, out: Path, settings: Mapping[str, Any]
) -> None:
    """Write pictures by class and by domain, and the numbers behind them, for each of ``--duplication`` embeddings."""
    figures, shown = options.figures, shown_classes(classes, options)
    method = "pca" if figures.pca else "openTSNE"
    if not figures.pca:
        need("openTSNE", "--tsne", remedy=REMEDY)
    domains = options.domains()
    points = collect_points(predict, options, domains, shown, classes=len(classes))
    if rank() > 0:
        return
    if len(points) > MOST:
        chosen = np.random.default_rng(0).choice(len(points), MOST, replace=False)
        points = [points[index] for index in sorted(chosen.tolist())]
    items = np.zeros((0, len(points[0].feature)), dtype=np.float32)
    item_classes: list[int] = []
    if predict.net.memory is not None:
        item_classes, items = shown, predict.net.memory.items[shown].float().cpu().numpy()
    folder = out / f"{'_'.join(domains)}_{settings['split']}"
    folder.mkdir(parents=True, exist_ok=True)
    vectors = np.concatenate([np.stack([point.feature for point in points]), items])
    roles = {name: role_of((name, images.spec.asked_as), settings["sources"]) for name, images in domains.items()}
    seen = [name for name, role in roles.items() if role == "seen"]
    note = f"{counted(len(points), 'point')} (one per image and class) and {counted(len(items), 'memory item')}"
    for number in range(1, figures.embeddings + 1):
        embedding = settings_for(method, len(vectors), number=number, perplexity=figures.perplexity)
        places = embed(vectors, embedding)
        cloud = Cloud(points, places[: len(points)], item_classes, items, places[len(points) :], classes)
        stem = folder / f"{method}_{len(shown)}classes_{number}"
        write_cloud(stem, cloud, {"embedding": embedding, **settings})
        draw_cloud(stem, cloud, sources=seen, note=f"{method}; {note}")
    log.info(f"{note}\nwritten to {folder}")


def collect_points(
    predict: Predictor,
    options: EvaluationOptions,
    domains: Mapping[str, LabelledImages],
    shown: list[int],
    *,
    classes: int,
) -> list[Point]:
    """The points of all images of all processes, in the order of domains, images and classes."""
    own: list[tuple[int, int, list[Point]]] = []
    for place, (domain, images) in enumerate(domains.items()):
        for view in domain_views(images, options):
            features = predict.output(view.image, index=view.index).features
            means, present = class_means(features[0], view.labels.to(predict.device), classes=classes)
            here, vectors = present.tolist(), means.cpu().numpy()
            own.append((place, view.index, [Point(domain, view.name, k, vectors[k]) for k in shown if here[k]]))
    ordered = sorted(chain(*gather(own)), key=lambda entry: entry[:2])
    points = list(chain(*(points for *_, points in ordered)))
    if len(points) < FEWEST:
        raise UsageError(
            f"--tsne: {counted(len(points), 'point')} in {counted(len(ordered), 'image')}, and at least {FEWEST} are "
            "needed; name more domains, raise --imagenum_dom, or add --all_class"
        )
    return points


def class_means(features: Tensor, labels: Tensor, *, classes: int) -> tuple[Tensor, Tensor]:
    """Per class the mean of the unit ``features`` (C,h,w) over its pixels in ``labels`` (H,W), and whether it has any.

    Returns (K,C) and (K,) bool.  The labels are reduced to the size of the features, as where the memory is written.
    """
    unit = F.normalize(at_least_single(features), dim=0)
    sums, mass = class_sums(unit[None], labels[None], classes)
    return sums / mass.clamp_min(1e-12), mass[:, 0] > 0


def write_cloud(stem: Path, cloud: Cloud, settings: Mapping[str, Any]) -> None:
    """All numbers behind a picture as ``.npz``, readable without any class of this project."""
    names = np.array(cloud.classes.names)
    domains, images, train_ids, features = zip(*cloud.points, strict=True)
    content = {
        "features": np.stack(features),
        "class": names[list(train_ids)],
        "domain": np.array(domains),
        "image": np.array(images),
        "coordinates": cloud.places,
        "item_class": names[list(cloud.item_classes)] if cloud.item_classes else np.array([], dtype=np.str_),
        "item_features": cloud.item_features,
        "item_coordinates": cloud.item_places,
        "snapshot": np.array(settings["snapshot"]),
        "settings": np.array(json.dumps(settings, default=str)),
    }
    with whole_file(stem.with_name(f"{stem.name}.npz")) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **content)


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
