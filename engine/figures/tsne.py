"""``--tsne``: a point per image and class, the mean of its features, together with the memory's items."""

import json
import os
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from datasets.images import LabelledImages
from datasets.labels import ClassSet
from engine.evaluating.prediction import Predictor
from engine.figures.views import domains_of, labelled_views, shown_classes
from network.categorical_memory import class_sums
from network.deeplab import SegOutput
from utils.distributed import gather
from utils.embedding import embed, load_method, settings_for
from utils.errors import UsageError
from utils.packages import need
from utils.precision import at_least_single
from utils.processes import rank

MOST = 10_200  # points, as published
FEWEST = 4


class Point(NamedTuple):
    """The mean feature of a class in an image."""

    domain: str
    image: str
    train_id: int
    feature: np.ndarray  # C


class Cloud(NamedTuple):
    """P points and S items, and their places in two dimensions."""

    points: Sequence[Point]
    places: np.ndarray  # P,2
    item_classes: Sequence[int]  # S
    item_features: np.ndarray  # S,C
    item_places: np.ndarray  # S,2
    classes: ClassSet


def draw_tsne(predict: Predictor, args: Namespace, *, out: Path, about: Mapping[str, Any], classes: ClassSet) -> None:
    """Write pictures by class and by domain, and the numbers behind them, for each of ``--duplication`` embeddings."""
    method = "pca" if args.pca else "tsnecuda" if args.tsnecuda else "openTSNE"
    load_method(method, "--tsnecuda" if args.tsnecuda else "--tsne")
    need("matplotlib", "--tsne", remedy="install it with `pip install openTSNE matplotlib`")
    from engine.figures.scatter_plots import draw_cloud  # needs matplotlib, which nothing else does

    domains = domains_of(args)
    points = collect(predict, domains, args=args, classes=classes)
    if rank() > 0:
        return
    points = at_most(points, MOST)
    shown, items = items_of(predict, args, classes=classes, dim=len(points[0].feature))
    folder = out / f"{'_'.join(domains)}_{args.split}"
    folder.mkdir(parents=True, exist_ok=True)
    vectors = np.concatenate([np.stack([point.feature for point in points]), items])
    for number in range(1, args.duplication + 1):
        settings = settings_for(method, len(vectors), number=number, perplexity=args.perplexity)
        places = embed(vectors, settings)
        cloud = Cloud(points, places[: len(points)], shown, items, places[len(points) :], classes)
        stem = folder / f"{method}_{args.tsne_features}_{len(shown_classes(args, classes))}classes_{number}"
        write_cloud(stem, cloud, {"features": args.tsne_features, "embedding": settings, **about})
        draw_cloud(stem, cloud, sources=about["sources"], note=note(settings, cloud))
    print(f"{len(points)} points and {len(items)} memory items\nwritten to {folder}")


def collect(
    predict: Predictor, domains: Mapping[str, LabelledImages], *, args: Namespace, classes: ClassSet
) -> list[Point]:
    """The points of all images, whichever process has seen them, in the order of domains, images and classes."""
    shown = shown_classes(args, classes)
    found: list[tuple[int, int, list[Point]]] = []
    for place, (domain, images) in enumerate(domains.items()):
        for view in labelled_views(args, images):
            output = predict.look(view.image, index=view.index)
            features, labels = features_of(output, args.tsne_features), view.labels.to(predict.device)
            means, present = class_means(features, labels, classes=len(classes))
            here, vectors = present.tolist(), means.cpu().numpy()
            points = [Point(domain, view.name, k, vectors[k]) for k in shown if here[k]]
            found.append((place, view.index, points))
    ordered = sorted(chain(*gather(found)), key=lambda entry: entry[:2])
    points = list(chain(*(points for *_, points in ordered)))
    if len(points) < FEWEST:
        raise UsageError(
            f"--tsne: {len(points)} points in {len(ordered)} images, and {FEWEST} are the least; name more domains, "
            "raise --imagenum_dom, or add --all_class"
        )
    return points


def features_of(output: SegOutput, which: str) -> Tensor:
    """The features (C,h,w) of an image, from before or after the read."""
    return (output.features if which == "before" else output.reading.features)[0]


def class_means(features: Tensor, labels: Tensor, *, classes: int) -> tuple[Tensor, Tensor]:
    """Per class the mean of ``features`` (C,h,w), each at unit length, over its pixels in ``labels`` (H,W), and whether
    it has any: (K,C) and (K,).

    Labels come to the size of the features, as where the memory is written, and not features to that of the labels.
    """
    unit = F.normalize(at_least_single(features), dim=0)
    sums, mass = class_sums(unit[None], labels[None], classes)
    return sums / mass.clamp_min(1e-12), mass[:, 0] > 0


def items_of(predict: Predictor, args: Namespace, *, classes: ClassSet, dim: int) -> tuple[list[int], np.ndarray]:
    """The classes shown and their items (S,C); none without a memory, nor beside features from after the read, which
    live in another space."""
    memory = predict.net.memory
    if memory is None or args.tsne_features == "after":
        return [], np.zeros((0, dim), dtype=np.float32)
    shown = shown_classes(args, classes)
    return shown, memory.items[shown].float().cpu().numpy()


def at_most(points: Sequence[Point], most: int) -> Sequence[Point]:
    """Points drawn at random, each once, where there are more than ``most``."""
    if len(points) <= most:
        return points
    print(f"note: {len(points)} points, of which {most} drawn at random are shown")
    chosen = np.random.default_rng(0).choice(len(points), most, replace=False)
    return [points[index] for index in sorted(chosen.tolist())]


def write_cloud(stem: Path, cloud: Cloud, settings: Mapping[str, Any]) -> None:
    """All numbers behind a picture as ``.npz``, readable without any class of this project."""
    content = {
        "features": np.stack([point.feature for point in cloud.points]),
        "class": names((point.train_id for point in cloud.points), cloud.classes),
        "domain": np.array([point.domain for point in cloud.points]),
        "image": np.array([point.image for point in cloud.points]),
        "coordinates": cloud.places,
        "item_class": names(cloud.item_classes, cloud.classes),
        "item_features": cloud.item_features,
        "item_coordinates": cloud.item_places,
        "snapshot": np.array(settings["snapshot"]),
        "settings": np.array(json.dumps(settings, default=str)),
    }
    partial = stem.with_name(f"{stem.name}.partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, **content)
    os.replace(partial, stem.with_name(f"{stem.name}.npz"))


def names(train_ids: Iterable[int], classes: ClassSet) -> np.ndarray:
    return np.array([classes.names[k] for k in train_ids], dtype=np.str_)


def note(settings: Mapping[str, Any], cloud: Cloud) -> str:
    """How a picture came about, in a few words."""
    how = "PCA" if settings["method"] == "pca" else f"{settings['method']}, perplexity {settings['perplexity']:.3g}"
    items = f" and {len(cloud.item_classes)} memory items" if cloud.item_classes else ""
    return f"{how}; {len(cloud.points):,} points (one per image and class){items}"
