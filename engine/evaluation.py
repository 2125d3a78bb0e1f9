"""Scoring a network on labelled domains, and what is written about it."""

import csv
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from datasets.folder import LabelledImages
from datasets.labels import CLASSES
from datasets.transforms import normalise
from engine.build import autocast, choose_precision, evaluation_batches, fingerprint
from network.deeplab import DeepLabV3Plus
from utils.errors import UsageError
from utils.inference import whole
from utils.metrics import ConfusionMatrix, Scores

FREQUENT = 0.01  # share of the labelled pixels from which a class counts as frequent


class Predicted(NamedTuple):
    """One image of a domain with its prediction."""

    name: str
    image: Tensor  # 3,H,W uint8
    labels: Tensor  # H,W uint8
    prediction: Tensor  # H,W uint8


@torch.no_grad()
def predictions(
    net: DeepLabV3Plus, args: Namespace, images: LabelledImages, device: torch.device
) -> Iterator[Predicted]:
    """Every image of a domain with its prediction, in order; seeded, so that a noisy read is the same next time."""
    net.eval()
    precision = choose_precision(args.amp, device)
    torch.manual_seed(0)
    for image, labels, name in tqdm(evaluation_batches(args, images), images.spec.name, leave=False, unit="image"):
        with autocast(precision, device):
            logits = whole(net, normalise(image.to(device))[None], gumbel=bool(args.gumbel_eval))[0]
        yield Predicted(name, image, labels, logits.argmax(0).to(torch.uint8))


def score_domain(
    net: DeepLabV3Plus,
    args: Namespace,
    images: LabelledImages,
    device: torch.device,
    *,
    each: Callable[[Predicted], None] = lambda predicted: None,
) -> Scores:
    """The scores of a domain; ``each`` is called with every image that was scored."""
    matrix = ConfusionMatrix(len(CLASSES), device)
    for predicted in predictions(net, args, images, device):
        matrix.update(predicted.labels.to(device), predicted.prediction)
        each(predicted)
    assert matrix.images == len(images), f"{matrix.images} images scored of {len(images)}"
    if not matrix.counts.any():
        name, split = images.spec.name, images.split
        raise UsageError(f"{name} {split}: not one pixel is labelled; choose a --split with labels or check the labels")
    return matrix.scores()


def summary(scores: Scores) -> dict[str, float]:
    """The numbers by which a domain is known."""
    return {
        "mean_iou": scores.mean_iou,
        "mean_iou_frequent": scores.mean_iou_above(FREQUENT),
        "accuracy": scores.accuracy,
    }


def per_class(scores: Scores) -> dict[str, dict[str, float | None]]:
    """IoU, precision, recall and share of the pixels by class name; None where there is nothing to divide by."""
    columns = {name: getattr(scores, name).tolist() for name in ("iou", "precision", "recall", "share")}
    return {
        name: {key: None if values[k] != values[k] else values[k] for key, values in columns.items()}
        for k, name in enumerate(CLASSES)
    }


def all_road(scores: Scores) -> dict[str, float]:
    """What calling every pixel road would score: the least that any number should be compared with."""
    road = scores.share[CLASSES.index("road")].item()
    return {
        "mean_iou": road / int((scores.share > 0).sum()),
        "mean_iou_frequent": road / int((scores.share >= FREQUENT).sum()),
    }


def protocol(args: Namespace, images: LabelledImages, device: torch.device) -> dict[str, Any]:
    """How a number was obtained: without it, it cannot be compared with any other."""
    crop = args.mapillary_crop if images.spec.eval_crop else 0
    return {
        "recipe": args.recipe,
        "split": images.split,
        "images": len(images),
        "images_hash": fingerprint(images.samples),
        "images_expected": images.spec.counts.get(images.split),
        "mode": "whole",
        "scales": [1.0],
        "flip": False,
        "memory_read": "gumbel" if args.gumbel_eval else "softmax",
        "geometry": f"height {crop}, centre crop {crop}x{crop}, padding {args.mapillary_pad}" if crop else "as stored",
        "gtav_labels": args.gtav_labels,
        "precision": choose_precision(args.amp, device),
        "device": device.type,
        "mean_iou": "over the classes that occur in labels or predictions",
        "mean_iou_frequent": f"over the classes with at least {FREQUENT:.0%} of the labelled pixels",
    }


def result(args: Namespace, images: LabelledImages, device: torch.device, scores: Scores) -> dict[str, Any]:
    """All that is written about a domain."""
    about = {"all_road": all_road(scores), "classes": per_class(scores), "protocol": protocol(args, images, device)}
    return summary(scores) | about


def write_csv(path: Path, domains: Mapping[str, dict[str, Any]]) -> None:
    """One row per class, IoU, precision and recall of every domain as columns."""
    measures = ("iou", "precision", "recall")
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["class", *(f"{domain} {measure}" for domain in domains for measure in measures)])
        for name in CLASSES:
            cells = [result["classes"][name][measure] for result in domains.values() for measure in measures]
            table.writerow([name, *("" if cell is None else f"{cell:.4f}" for cell in cells)])


def class_table(result: dict[str, Any]) -> str:
    """Class by class for the screen, in percent."""
    lines = [f"{'class':<14}{'IoU':>7}{'prec.':>7}{'recall':>7}{'pixels':>8}"]
    for name, row in result["classes"].items():
        cells = ["-" if value is None else f"{100 * value:.1f}" for value in row.values()]
        lines.append(f"{name:<14}{cells[0]:>7}{cells[1]:>7}{cells[2]:>7}{cells[3]:>8}")
    frequent = f"{100 * result['mean_iou_frequent']:.1f} over the classes with {FREQUENT:.0%} of the pixels or more"
    lines.append(f"mIoU {100 * result['mean_iou']:.1f}   ({frequent})   accuracy {100 * result['accuracy']:.1f}")
    return "\n".join(lines)
