"""``--tsne``: a point per image and class, the mean of its features, with the memory's items; needs matplotlib."""

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from datasets.images import LabelledImages
from engine.evaluating.prediction import Predictor
from engine.figures.scatter_plots import Cloud, Point, draw_cloud
from engine.figures.views import ViewSource
from network.categorical_memory import class_sums
from utils.distributed import gather
from utils.embedding import REMEDY, embed, settings_for
from utils.errors import UsageError
from utils.files import whole_file
from utils.log import log
from utils.packages import need
from utils.precision import at_least_single
from utils.processes import rank

MOST = 10_200  # points, as published
FEWEST = 4


def draw_tsne(predict: Predictor, source: ViewSource, *, out: Path, settings: Mapping[str, Any]) -> None:
    """Write pictures by class and by domain, and the numbers behind them, for each of ``--duplication`` embeddings."""
    figures, classes, shown = source.figures, source.classes, source.shown
    method = "pca" if figures.pca else "tsnecuda" if figures.tsnecuda else "openTSNE"
    if method in REMEDY:
        need(method, "--tsnecuda" if figures.tsnecuda else "--tsne", remedy=REMEDY[method])
    domains = source.domains()
    points = collect_points(predict, source, domains)
    if rank() > 0:
        return
    points = at_most(points, MOST)
    items = np.zeros((0, len(points[0].feature)), dtype=np.float32)
    item_classes: list[int] = []
    if predict.net.memory is not None and figures.tsne_features == "before":  # after the read is another space
        item_classes, items = shown, predict.net.memory.items[shown].float().cpu().numpy()
    folder = out / f"{'_'.join(domains)}_{settings['split']}"
    folder.mkdir(parents=True, exist_ok=True)
    vectors = np.concatenate([np.stack([point.feature for point in points]), items])
    for number in range(1, figures.embeddings + 1):
        embedding = settings_for(method, len(vectors), number=number, perplexity=figures.perplexity)
        places = embed(vectors, embedding)
        cloud = Cloud(points, places[: len(points)], item_classes, items, places[len(points) :], classes)
        stem = folder / f"{method}_{figures.tsne_features}_{len(shown)}classes_{number}"
        write_cloud(stem, cloud, {"features": figures.tsne_features, "embedding": embedding, **settings})
        draw_cloud(stem, cloud, sources=settings["sources"], note=caption(embedding, cloud))
    log.info(f"{len(points)} points and {len(items)} memory items\nwritten to {folder}")


def collect_points(predict: Predictor, source: ViewSource, domains: Mapping[str, LabelledImages]) -> list[Point]:
    """The points of all images of all processes, in the order of domains, images and classes."""
    own: list[tuple[int, int, list[Point]]] = []
    for place, (domain, images) in enumerate(domains.items()):
        for view in source.labelled(images):
            output = predict.output(view.image, index=view.index)
            features = output.features if source.figures.tsne_features == "before" else output.reading.features
            means, present = class_means(features[0], view.labels.to(predict.device), classes=len(source.classes))
            here, vectors = present.tolist(), means.cpu().numpy()
            own.append((place, view.index, [Point(domain, view.name, k, vectors[k]) for k in source.shown if here[k]]))
    ordered = sorted(chain(*gather(own)), key=lambda entry: entry[:2])
    points = list(chain(*(points for *_, points in ordered)))
    if len(points) < FEWEST:
        raise UsageError(
            f"--tsne: {len(points)} points in {len(ordered)} images, and at least {FEWEST} are needed; name more "
            "domains, raise --imagenum_dom, or add --all_class"
        )
    return points


def class_means(features: Tensor, labels: Tensor, *, classes: int) -> tuple[Tensor, Tensor]:
    """Per class the mean of the unit ``features`` (C,h,w) over its pixels in ``labels`` (H,W), and whether it has any.

    Returns (K,C) and (K,) bool.  The labels are reduced to the size of the features, as where the memory is written.
    """
    unit = F.normalize(at_least_single(features), dim=0)
    sums, mass = class_sums(unit[None], labels[None], classes)
    return sums / mass.clamp_min(1e-12), mass[:, 0] > 0


def at_most(points: Sequence[Point], most: int) -> Sequence[Point]:
    """A random subset of at most ``most`` points, in their order."""
    if len(points) <= most:
        return points
    log.info(f"note: {len(points)} points; {most} of them, drawn at random, are shown")
    chosen = np.random.default_rng(0).choice(len(points), most, replace=False)
    return [points[index] for index in sorted(chosen.tolist())]


def write_cloud(stem: Path, cloud: Cloud, settings: Mapping[str, Any]) -> None:
    """All numbers behind a picture as ``.npz``, readable without any class of this project."""
    names = cloud.classes.names
    domains, images, train_ids, features = zip(*cloud.points, strict=True)
    content = {
        "features": np.stack(features),
        "class": np.array([names[k] for k in train_ids]),
        "domain": np.array(domains),
        "image": np.array(images),
        "coordinates": cloud.places,
        "item_class": np.array([names[k] for k in cloud.item_classes], dtype=np.str_),
        "item_features": cloud.item_features,
        "item_coordinates": cloud.item_places,
        "snapshot": np.array(settings["snapshot"]),
        "settings": np.array(json.dumps(settings, default=str)),
    }
    with whole_file(stem.with_name(f"{stem.name}.npz")) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **content)


def caption(settings: Mapping[str, Any], cloud: Cloud) -> str:
    """How a picture was made, in a few words."""
    method = "PCA" if settings["method"] == "pca" else f"{settings['method']}, perplexity {settings['perplexity']:.3g}"
    items = f" and {len(cloud.item_classes)} memory items" if cloud.item_classes else ""
    return f"{method}; {len(cloud.points):,} points (one per image and class){items}"
