"""``--memory_report``: how alike the memory's items are, who reads them, and what each is worth."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from datasets.images import LabelledImages
from datasets.labels import ClassSet
from engine.evaluating.prediction import Predictor, likeliest
from engine.evaluating.results import percent, scoring_protocol
from engine.evaluating.scoring import joint_scores
from engine.figures.views import domain_views
from engine.machine import autocast
from engine.options.evaluation_options import EvaluationOptions
from loss.segmentation import nearest
from methods.memory_health import ReadSums, health_of, read_sums
from network.categorical_memory import CategoricalMemory
from network.deeplab import Encoding, full_size
from utils.distributed import all_sum, gather
from utils.files import whole_file, write_json
from utils.log import counted, log
from utils.metrics import ConfusionMatrix, Scores
from utils.pictures import GAP, contact_sheet, save_picture
from utils.processes import rank

SIDE, MOST = 96, 8  # pixels of a patch; patches of an item
BEYOND = 210  # the grey around an image
WRITTEN = 40  # items, up to which the similarity is written as a number, too


class Patch(NamedTuple):
    """A pixel and the part of its image around it."""

    item: int  # the nearest one
    cosine: float  # between the pixel's feature and that item
    order: tuple[int, int]  # of the image: of its domain and within it
    pixels: np.ndarray  # SIDE,SIDE,3 uint8; grey beyond the image


class Memories(NamedTuple):
    """The items of a memory, and the same with one of them changed."""

    items: Tensor  # S,C
    zeroed: list[Tensor]  # S times S,C: an item is zero
    replaced: list[Tensor]  # S times S,C: an item is a copy of the one that is most similar to it
    most_similar: list[int]  # S


class Measured(NamedTuple):
    """A domain, seen by all processes."""

    scores: list[Scores]  # 1 + 2 S: with the items, with each of them zeroed, with each of them replaced
    sums: ReadSums
    only_item: Tensor  # S  pixels of each class that the memory knows and the network does not: see ``known_to_items``
    patches: list[Patch]


def write_memory_report(
    predict: Predictor, options: EvaluationOptions, classes: ClassSet, *, out: Path, settings: Mapping[str, Any]
) -> None:
    """Write ``report.json``, ``similarity.png`` and ``patches.png``, and log a table of each domain."""
    memory = predict.net.memory
    names = [*classes.names, *(f"item {k}" for k in range(len(classes), len(memory.items)))]
    memories = changed_memories(memory)
    cosines = memory.compared(memory.items) @ memory.compared(memory.items).T
    report = {**settings, "memory_read": "softmax", "items": {"names": names, "cosines": cosines.tolist()}}
    report["domains"], patches = {}, []
    for place, (name, images) in enumerate(options.domains().items()):
        measured = measure(predict, images, options, memories, place=place)
        patches = best_patches([*patches, *measured.patches])
        domain = domain_report(measured, memory, names, memories.most_similar)
        domain["protocol"] = scoring_protocol(options, images, reads=1)
        report["domains"][name] = domain
        log.info(f"\n{name} ({images.split}, {counted(len(images), 'image')})\n{table(domain)}")
    if rank() == 0:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "report.json", report)
        draw_similarity(out / "similarity.png", cosines.cpu().numpy(), names)
        draw_patches(out / "patches.png", patches, names)
    log.info(f"written to {out}")


def changed_memories(memory: CategoricalMemory) -> Memories:
    """The items, and their changed versions.

    A read does not depend on the order of the items: to exchange two of them would change nothing.  In a centred memory
    an item is zero if it is the mean of the others.
    """
    items, compared = memory.items, memory.compared(memory.items)
    others = (items.sum(dim=0) - items) / (len(items) - 1)
    cosines = (compared @ compared.T).fill_diagonal_(-math.inf)
    most_similar = cosines.argmax(dim=1).tolist()
    zeroed, replaced = ([items.clone() for _ in items] for _ in range(2))
    for k, other in enumerate(most_similar):
        zeroed[k][k] = others[k] if memory.centred else 0
        replaced[k][k] = items[other]
    return Memories(items, zeroed, replaced, most_similar)


@torch.no_grad()
def measure(
    predict: Predictor, images: LabelledImages, options: EvaluationOptions, memories: Memories, *, place: int
) -> Measured:
    """Score the images of the domain at ``place`` with each of ``memories``.  The processes share the images."""
    memory = predict.net.memory
    tested = [memories.items, *memories.zeroed, *memories.replaced]
    matrices = [ConfusionMatrix(len(images.spec.classes), predict.device) for _ in tested]
    sums: list[tuple[int, ReadSums]] = []
    only_item = torch.zeros(len(memories.items), dtype=torch.int64, device=predict.device)
    patches: list[Patch] = []
    for view in domain_views(images, options):
        labels = view.labels.to(predict.device)
        with autocast(predict.precision, predict.device):
            encoding = predict.net.encoder(predict.normalised(view.image)[None])
        predicted = [prediction(predict, encoding, items, labels.shape) for items in tested]
        for matrix, each in zip(matrices, predicted, strict=True):
            matrix.update(labels, each)
        sums.append((view.index, read_sums(memory, encoding.features, labels[None])))
        scores = memory.read(encoding.features, memories.items).scores[0]
        only_item += known_to_items(scores, labels, predicted[0])
        patches = best_patches([*patches, *nearest_patches(scores, view.image, order=(place, view.index))])
    # They are added in the order of the images, so the number of processes does not matter.
    ordered = [each for _, each in sorted(chain(*gather(sums)), key=lambda entry: entry[0])]
    total = ReadSums(*(torch.stack(column).sum(dim=0) for column in zip(*ordered, strict=True)))
    scores = [joint_scores(matrix, images) for matrix in matrices]
    return Measured(scores, total, all_sum(only_item).cpu(), list(chain(*gather(patches))))


def known_to_items(scores: Tensor, labels: Tensor, predicted: Tensor) -> Tensor:
    """For each class (S) the pixels whose nearest item is right and whose prediction is wrong.

    ``scores`` (S,h,w) are cosines between pixels and items; ``labels`` and ``predicted`` are H,W.
    """
    rows, columns = (nearest(labels.shape[axis], scores.shape[axis], labels.device) for axis in (-2, -1))
    coarse, guesses = labels[rows[:, None], columns].long(), predicted[rows[:, None], columns]
    known = (scores.argmax(dim=0) == coarse) & (guesses != coarse)
    return torch.bincount(coarse[known], minlength=len(scores))


def prediction(predict: Predictor, encoding: Encoding, items: Tensor, size: torch.Size) -> Tensor:
    """Train ids (H,W uint8) of one image, whose decoder sees ``items`` (S,C) without noise."""
    net = predict.net
    with autocast(predict.precision, predict.device):
        x, _ = net.refine(encoding.features, encoding.low, items=items)
        coarse = net.classifier(net.decoder(x))
    return likeliest(full_size(coarse, size, net.multiple)[0], dim=0)


def domain_report(
    measured: Measured, memory: CategoricalMemory, names: list[str], most_similar: list[int]
) -> dict[str, Any]:
    """All numbers of a domain: mIoU, health, and per class pixels, reads, IoU and the effect of its item."""
    whole, *changed = measured.scores
    points = [100 * (scores.mean_iou - whole.mean_iou) for scores in changed]
    pixels, own, weight = measured.sums.classes
    spare = [math.nan] * (len(names) - len(whole.iou))  # items without a class
    columns = {
        "pixels": [int(count) for count in pixels],
        "own_item": (own / pixels).tolist(),
        "only_item": (measured.only_item / pixels).tolist(),
        "read_weight": (weight / pixels).tolist(),
        "iou": whole.iou.tolist() + spare,
        "zeroed": points[: len(names)],
        "replaced": points[len(names) :],
        "replaced_by": [names[k] for k in most_similar],
    }
    rows = zip(*columns.values(), strict=True)
    classes = {name: dict(zip(columns, row, strict=True)) for name, row in zip(names, rows, strict=True)}
    return {"mean_iou": whole.mean_iou, "health": health_of(memory, measured.sums), "classes": classes}


def table(domain: Mapping[str, Any]) -> str:
    """The table of a domain for the screen: shares in percent, changes in points of mIoU."""
    titles = ("pixels", "own item", "only item", "read weight", "IoU", "zeroed", "replaced by")
    lines = [f"{'class':<14}" + "".join(f"{title:>13}" for title in titles)]
    for name, row in domain["classes"].items():
        shares = "".join(f"{percent(row, key):>13}" for key in ("own_item", "only_item", "read_weight", "iou"))
        zeroed, replaced = (round(row[key], 2) + 0.0 for key in ("zeroed", "replaced"))  # + 0.0: no "-0.00"
        lines.append(f"{name:<14}{row['pixels']:>13}{shares}{zeroed:>+13.2f}{replaced:>+13.2f} {row['replaced_by']}")
    health = "   ".join(f"{name} {value:.3f}" for name, value in domain["health"].items())
    return "\n".join([*lines, f"mIoU {percent(domain, 'mean_iou')}   {health}"])


def nearest_patches(scores: Tensor, image: Tensor, *, order: tuple[int, int]) -> list[Patch]:
    """Per item the patch of ``image`` (3,H,W uint8) at the pixel with the highest score among those nearest to it.

    ``scores`` (S,h,w) are cosines between pixels and items.  Items to which no pixel is nearest have no patch.
    """
    own = scores.argmax(dim=0) == torch.arange(len(scores), device=scores.device)[:, None, None]
    cosines, places = torch.where(own, scores, -math.inf).flatten(1).max(dim=1)
    rows, columns = (nearest(image.shape[axis], scores.shape[axis], image.device).tolist() for axis in (-2, -1))
    padded = F.pad(image, (SIDE // 2,) * 4, value=BEYOND)
    patches = []
    for item, (cosine, place) in enumerate(zip(cosines.tolist(), places.tolist(), strict=True)):
        if cosine > -math.inf:
            top, left = rows[place // len(columns)], columns[place % len(columns)]
            pixels = padded[:, top : top + SIDE, left : left + SIDE].permute(1, 2, 0).numpy().copy()
            patches.append(Patch(item, cosine, order, pixels))
    return patches


def best_patches(patches: Iterable[Patch]) -> list[Patch]:
    """The patches with the highest cosines, at most ``MOST`` of each item, in the order of items and cosines."""
    ordered = sorted(patches, key=lambda patch: (patch.item, -patch.cosine, patch.order))
    return [patch for _, group in groupby(ordered, key=lambda patch: patch.item) for patch in list(group)[:MOST]]


def draw_patches(path: Path, patches: Sequence[Patch], names: Sequence[str]) -> None:
    """Write a row of patches for each item, the nearest first."""
    width = MOST * (SIDE + GAP) - GAP
    rows = {}
    for item, name in enumerate(names):
        row = np.full((SIDE, width, 3), 255, np.uint8)
        own = [patch for patch in patches if patch.item == item]
        for place, patch in enumerate(own):
            left = place * (SIDE + GAP)
            row[:, left : left + SIDE] = patch.pixels
        rows[name if own else f"{name}: no pixel is nearest to this item"] = row
    save_picture(path, contact_sheet(rows, columns=1, width=width))


def draw_similarity(path: Path, cosines: np.ndarray, names: Sequence[str]) -> None:
    """Write the cosines (S,S) between the items as a matrix of colours and numbers."""
    side = min(3 + 0.42 * len(names), 20)
    figure = Figure(figsize=(side + 1, side), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    picture = axes.imshow(cosines, cmap="RdBu_r", vmin=-1, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(labelsize=min(10, 900 / len(names)))  # points, so that names do not touch
    figure.colorbar(picture, shrink=0.6, label="cosine between two items")
    if len(names) <= WRITTEN:
        for (row, column), cosine in np.ndenumerate(cosines):
            colour = "white" if abs(cosine) > 0.6 else "black"
            axes.text(column, row, f"{cosine:.2f}", ha="center", va="center", fontsize=6.5, color=colour)
    with whole_file(path) as partial:
        figure.savefig(partial, format="png")
