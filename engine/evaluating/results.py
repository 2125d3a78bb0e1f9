"""What is written about scores: numbers by name with the protocol by which they were obtained."""

import csv
import io
import itertools
import math
import statistics
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datasets.images import LabelledImages
from datasets.labels import ClassSet
from engine.data_report import fingerprint, scoring_crop
from engine.evaluating.scoring import FREQUENT, summary
from utils.files import write_text
from utils.metrics import Scores

MEASURES = ("iou", "precision", "recall")  # of a class
ROAD = "road"
OVERALL = ("mean_iou", "mean_iou_frequent", "accuracy")  # of a domain
Numbers = dict[str, float]


def result(
    scores: Sequence[Scores], protocol: Mapping[str, Any], *, classes: ClassSet, repeats: str = "reads"
) -> dict[str, Any]:
    """All that is written about a domain, of which there is one score for each of what ``repeats`` names."""
    about = {"all_road": all_road(scores[0], classes), "classes": per_class(scores, classes), "protocol": protocol}
    return over_repeats([summary(x) for x in scores], repeats) | about


def over_repeats(rows: Sequence[Numbers], repeats: str) -> dict[str, Any]:
    """Each number's mean over the repeats; of several also the sample standard deviation, and every repeat's own."""
    means: dict[str, Any] = {name: statistics.fmean(row[name] for row in rows) for name in rows[0]}
    if len(rows) > 1:
        deviations = {name: float(np.std([row[name] for row in rows], ddof=1)) for name in rows[0]}
        means |= {"standard_deviation": deviations, repeats: list(rows)}
    return means


def mean_of(domains: Mapping[str, dict[str, Any]], *, repeats: str = "reads") -> dict[str, Any]:
    """The mean over domains of the numbers by which they are known, repeat by repeat."""
    each = zip(*(domain.get(repeats, [domain]) for domain in domains.values()), strict=True)
    rows = [{name: statistics.fmean(row[name] for row in repeat) for name in OVERALL} for repeat in each]
    return over_repeats(rows, repeats) | {"domains": list(domains)}


def per_class(scores: Sequence[Scores], classes: ClassSet) -> dict[str, dict[str, float | None]]:
    """IoU, precision, recall and share of the pixels by class name; None where there is nothing to divide by."""
    columns = {key: torch.stack([getattr(x, key) for x in scores]).nanmean(0).tolist() for key in (*MEASURES, "share")}
    return {
        name: {key: None if math.isnan(values[k]) else values[k] for key, values in columns.items()}
        for k, name in enumerate(classes.names)
    }


def all_road(scores: Scores, classes: ClassSet) -> Numbers | None:
    """What calling every pixel road would score: the least that any number should be compared with; None without a
    class of that name."""
    if ROAD not in classes.names:
        return None
    iou = torch.zeros_like(scores.share)
    iou[classes.names.index(ROAD)] = scores.share[classes.names.index(ROAD)]
    return {
        "mean_iou": iou[scores.share > 0].mean().item(),
        "mean_iou_frequent": iou[scores.share >= FREQUENT].mean().item(),
    }


def scoring_protocol(args: Namespace, images: LabelledImages, *, reads: int) -> dict[str, Any]:
    """How predictions are scored: without it, a number cannot be compared with any other."""
    crop = scoring_crop(args, images)
    return {
        "recipe": args.recipe,
        "data_set": images.spec.asked_as,
        "split": images.split,
        "images": len(images),
        "images_hash": fingerprint(images.samples),
        "images_expected": images.found.expected,
        "layout": images.found.layout,
        "split_by": images.found.split_by,
        "reads": reads,
        "geometry": f"height {crop}, centre crop {crop}x{crop}, padding {args.mapillary_pad}" if crop else "as stored",
        "gtav_labels": args.gtav_labels,
        "mean_iou": "over the classes that occur in labels or predictions",
        "mean_iou_frequent": f"over the classes with at least {FREQUENT:.0%} of the labelled pixels",
    }


def keep_older(folder: Path) -> None:
    """Results that lie in ``folder`` already stay there under a number."""
    for name in ("results.json", "results.csv"):
        path = folder / name
        if path.exists():
            numbers = itertools.count(1)
            older = next(x for n in numbers if not (x := path.with_stem(f"results_{n}")).exists())
            path.rename(older)
            print(f"what was in {path} is now in {older.name}")


def write_csv(path: Path, domains: Mapping[str, dict[str, Any]], *, mean: Mapping[str, Any] | None) -> None:
    """A row per class with IoU, precision and recall of every domain, then the overall numbers below the IoUs, those of
    the mean over the domains in a last column; then those by batches of the target's own images, if there are any."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    columns = [f"{domain} {measure}" for domain in domains for measure in MEASURES]
    table.writerow(["class", *columns, *(["mean"] if mean else [])])
    for name in next(iter(domains.values()))["classes"]:
        row = [domain["classes"][name][measure] for domain in domains.values() for measure in MEASURES]
        table.writerow([name, *cells([*row, *([None] if mean else [])])])
    for name, values in overall_rows([*domains.values(), *([mean] if mean else [])]):
        row = [cell for value in values[: len(domains)] for cell in (value, None, None)]
        table.writerow([name, *cells([*row, *values[len(domains) :]])])
    write_text(path, text.getvalue())


def overall_rows(columns: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[float | None]]]:
    """The overall numbers, each by its name with a value for every column."""
    for name in OVERALL:
        yield name, [column[name] for column in columns]
    for number in columns[0].get("target_norm", ()):
        normed = [column["target_norm"][number] for column in columns]
        for name in OVERALL:
            yield f"{name} target_norm {number}", [column[name] for column in normed]
            deviations = [column.get("standard_deviation", {}).get(name) for column in normed]
            yield f"{name} target_norm {number} standard_deviation", deviations


def cells(values: Iterable[float | None]) -> list[str]:
    return ["" if value is None or math.isnan(value) else f"{value:.4f}" for value in values]


def class_table(result: dict[str, Any]) -> str:
    """Class by class for the screen, in percent."""
    lines = [f"{'class':<14}{'IoU':>7}{'prec.':>7}{'recall':>7}{'pixels':>8}"]
    for name, row in result["classes"].items():
        shown = ["-" if value is None else f"{100 * value:.1f}" for value in row.values()]
        lines.append(f"{name:<14}{shown[0]:>7}{shown[1]:>7}{shown[2]:>7}{shown[3]:>8}")
    frequent = f"{percent(result, 'mean_iou_frequent')} over the classes with {FREQUENT:.0%} of the pixels or more"
    lines.append(f"mIoU {percent(result, 'mean_iou')}   ({frequent})   accuracy {percent(result, 'accuracy')}")
    return "\n".join(lines)


def percent(result: Mapping[str, Any], name: str) -> str:
    """A number in percent, after several reads with their deviation; '-' for a mean over nothing."""
    if math.isnan(result[name]):
        return "-"
    deviation = result.get("standard_deviation")
    return f"{100 * result[name]:.1f}" + (f" ± {100 * deviation[name]:.1f}" if deviation else "")
