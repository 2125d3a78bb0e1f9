"""Scores as they are written: numbers by name, with the protocol that produced them."""

import csv
import itertools
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datasets.corruptions import SEVERITY
from datasets.images import LabelledImages
from datasets.labels import ClassSet
from engine.data_report import fingerprint
from engine.evaluating.scoring import FREQUENT, scoring_crop, summary
from engine.options.evaluation_options import EvaluationOptions
from engine.report.records import RESULTS
from utils.files import whole_file, write_json
from utils.forms import ANYTHING, read_json
from utils.log import log
from utils.metrics import Scores
from utils.processes import rank

MEASURES = ("iou", "precision", "recall")  # of a class
OVERALL = ("mean_iou", "mean_iou_frequent", "accuracy")  # of a domain
EXTRA = {"ece": ("calibration", "ece"), "mean_boundary_iou": ("boundary_iou", "mean")}  # if measured; keys in a result
Numbers = dict[str, float]
Results = Mapping[str, dict[str, Any]]  # by the name of the domain


def domain_result(
    scores: Sequence[Scores], protocol: Mapping[str, Any], *, classes: ClassSet, repeats: str = "reads"
) -> dict[str, Any]:
    """All that is written about a domain; ``scores`` has one entry per repeat, and ``repeats`` names the repeats."""
    details = {"classes": per_class(scores, classes), "protocol": protocol}
    return over_repeats([summary(each) for each in scores], repeats) | details


def over_repeats(rows: Sequence[Numbers], repeats: str) -> dict[str, Any]:
    """The mean of each number over the repeats; with several, also the sample standard deviation and all repeats."""
    means: dict[str, Any] = {name: statistics.fmean(row[name] for row in rows) for name in rows[0]}
    if len(rows) > 1:
        deviations = {name: float(np.std([row[name] for row in rows], ddof=1)) for name in rows[0]}
        means |= {"standard_deviation": deviations, repeats: list(rows)}
    return means


def mean_of(domains: Results) -> dict[str, Any]:
    """The mean over domains of their overall numbers, read by read."""
    each = zip(*(domain.get("reads", [domain]) for domain in domains.values()), strict=True)
    rows = [{name: statistics.fmean(row[name] for row in read) for name in OVERALL} for read in each]
    extra = {name: statistics.fmean(values) for name, values in extra_numbers(domains).items()}
    return over_repeats(rows, "reads") | extra | {"domains": list(domains)}


def extra_numbers(domains: Results) -> dict[str, list[float]]:
    """A number of each domain for every measure that was asked for."""
    first, every = next(iter(domains.values())), domains.values()
    return {name: [domain[key][number] for domain in every] for name, (key, number) in EXTRA.items() if key in first}


def per_class(scores: Sequence[Scores], classes: ClassSet) -> dict[str, dict[str, float | None]]:
    """IoU, precision, recall and share of the pixels by class name; None where the divisor is 0."""
    columns = {key: torch.stack([getattr(x, key) for x in scores]).nanmean(0).tolist() for key in (*MEASURES, "share")}
    return {
        name: {key: None if math.isnan(values[k]) else values[k] for key, values in columns.items()}
        for k, name in enumerate(classes.names)
    }


def scoring_protocol(options: EvaluationOptions, images: LabelledImages, *, reads: int) -> dict[str, Any]:
    """How predictions are scored.  Without it, a number cannot be compared with any other."""
    crop, pad = scoring_crop(images, options.scoring), options.scoring.mapillary_pad
    corruption = {"corruption": f"{images.corruption}, severity {SEVERITY}"} if images.corruption else {}
    return corruption | {
        "recipe": options.subject.recipe,
        "data_set": images.spec.asked_as,
        "split": images.split,
        "images": len(images),
        "images_hash": fingerprint(images.samples),
        "images_expected": images.found.expected,
        "layout": images.found.layout,
        "split_by": images.found.split_by,
        "reads": reads,
        "geometry": f"height {crop}, centre crop {crop}x{crop}, padding {pad}" if crop else "as stored",
        "gtav_labels": options.data.gtav_labels,
        "mean_iou": "over the classes that occur in labels or predictions",
        "mean_iou_frequent": f"over the classes with at least {FREQUENT:.0%} of the labelled pixels",
    }


def keep_older(folder: Path) -> None:
    """Rename older results in ``folder``, with a number."""
    for path in (folder / "results.json", folder / "results.csv"):
        if path.exists():
            names = (path.with_stem(f"results_{number}") for number in itertools.count(1))
            older = path.rename(next(name for name in names if not name.exists()))
            log.info(f"the older {path} is now {older.name}")


def kept_results(out: Path, header: dict[str, Any], protocols: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The results and details in ``out`` of the same weights, of domains that were scored by these ``protocols``.

    Files that hold anything else are renamed.
    """
    if not protocols or not (out / "results.json").is_file():
        keep_older(out)
        return {}, {}
    remedy = "delete it, or name another --out"
    before = read_json(out / "results.json", RESULTS, remedy=remedy)
    more = read_json(out / "details.json", ANYTHING, remedy=remedy)
    same = {"weights": header["weights"], "measures": header["measures"]}
    same, protocols = json.loads(json.dumps([same, protocols]))  # as they are in a file
    fits = all(before.get(key) == value for key, value in same.items())
    domains = {
        name: each for name, each in before["domains"].items() if fits and each["protocol"] == protocols.get(name)
    }
    if len(domains) < len(before["domains"]):
        keep_older(out)
    return domains, {name: more[name] for name in domains}


def write_results(out: Path, header: Mapping[str, Any], domains: Results, details: Mapping[str, Any]) -> None:
    """Let the first process write all results into the folder ``out``, with the mean over several domains."""
    mean = mean_of(domains) if len(domains) > 1 else None
    if rank() == 0:
        write_json(out / "details.json", details)  # first, so that no result lacks it
        write_json(out / "results.json", {**header, "domains": domains} | ({"mean": mean} if mean else {}))
        write_csv(out / "results.csv", domains, mean=mean)


def write_csv(path: Path, domains: Results, *, mean: Mapping[str, Any] | None) -> None:
    """A row per class with IoU, precision and recall of every domain, then a row per overall number.

    The overall numbers stand below the IoUs; the last column holds their mean over domains.
    """
    with whole_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        last = [mean] if mean else []
        titles = [f"{domain} {measure}" for domain in domains for measure in MEASURES]
        table.writerow(["class", *titles, *("mean" for _ in last)])
        for name in next(iter(domains.values()))["classes"]:
            row = [cell(domain["classes"][name][measure]) for domain in domains.values() for measure in MEASURES]
            table.writerow([name, *row, *("" for _ in last)])
        overall = {name: [domain[name] for domain in domains.values()] for name in OVERALL}
        for name, values in (overall | extra_numbers(domains)).items():
            row = [text for value in values for text in (cell(value), "", "")]
            table.writerow([name, *row, *(cell(numbers[name]) for numbers in last)])


def cell(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.4f}"


def class_table(result: Mapping[str, Any]) -> str:
    """A table of the classes for the screen, in percent."""
    borders = result.get("boundary_iou", {}).get("per_class", {})
    lines = [f"{'class':<14}{'IoU':>7}{'prec.':>7}{'recall':>7}{'pixels':>8}" + (f"{'border':>8}" if borders else "")]
    for name, row in result["classes"].items():
        values = [*row.values(), *([borders[name]] if borders else [])]
        shown = ["-" if value is None else f"{100 * value:.1f}" for value in values]
        lines.append(f"{name:<14}{shown[0]:>7}{shown[1]:>7}{shown[2]:>7}" + "".join(f"{text:>8}" for text in shown[3:]))
    frequent = f"{percent(result, 'mean_iou_frequent')} over the classes with {FREQUENT:.0%} of the pixels or more"
    lines.append(f"mIoU {percent(result, 'mean_iou')}   ({frequent})   accuracy {percent(result, 'accuracy')}")
    lines += measured_lines(result)
    for size, normed in result.get("target_norm", {}).items():
        lines.append(f"mIoU {percent(normed, 'mean_iou')} with the statistics of {size} images at a time")
        lines += measured_lines(normed)
    return "\n".join(lines)


def measured_lines(result: Mapping[str, Any]) -> list[str]:
    """A line for each measure of a result that was asked for, in percent."""
    lines = []
    if borders := result.get("boundary_iou"):
        lines.append(f"boundary IoU {percent(borders, 'mean')}   (within {borders['width']})")
    if calibration := result.get("calibration"):
        lines.append(f"expected calibration error {percent(calibration, 'ece')}   ({len(calibration['bins'])} bins)")
    return lines


def percent(result: Mapping[str, Any], name: str) -> str:
    """A number in percent, with its deviation after several repeats; '-' for the mean of nothing."""
    if math.isnan(result[name]):
        return "-"
    deviation = result.get("standard_deviation")
    return f"{100 * result[name]:.1f}" + (f" ± {100 * deviation[name]:.1f}" if deviation else "")
