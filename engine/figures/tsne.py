"""``--tsne``: a point per image and class, the mean of its features, with the memory's items."""

import json
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from datasets.images import LabelledImages
from datasets.labels import ClassSet
from engine.data_report import role_of
from engine.evaluating.prediction import Predictor
from engine.figures.scatter_plots import Cloud, Point, draw_cloud
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
