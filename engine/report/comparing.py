"""Which numbers may be compared: between records, and with the paper."""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets.labels import CLASSES
from datasets.registry import SPECS
from engine.report.records import Record

PAPER = json.loads(Path(__file__).with_name("paper.json").read_text())  # in percent; docs/paper.md has the sources
SQUARE = "height 1536, centre crop 1536x1536, padding road"  # of its images of Mapillary
PROTOCOL = (  # entries that must be equal for scores to be comparable
    "images_hash", "images", "split", "mode", "scales", "flip", "window", "overlap", "window_counts", "geometry",
    "gtav_labels", "normalised_by",
)  # fmt: skip
VALIDATION = ("val_images", "mapillary_crop", "mapillary_pad", "gtav_labels")  # the same of scores during training


def paper_scores(record: Record) -> tuple[dict[str, float], list[str]]:
    """The paper's mIoU, in percent, of each domain that was scored by the same protocol; why the others have none."""
    if not record.results:
        return {}, ["the run has not been evaluated yet"]
    row = PAPER["mean_iou"].get(" ".join(record.sources), {}).get(record.title)
    used = record.facts.get("training data", {})
    trained = f"{record.title} trained on {' and '.join(record.sources) or 'unknown data'}"
    others = tuple(record.classes) not in ((), CLASSES)
    facts = {"network": (record.network, PAPER["network"]), "classes": ("others" if others else 19, 19)}
    for name in filter(SPECS.get, record.sources):
        facts[f"training images of {name}"] = used.get(name, {}).get("images"), SPECS[name].counts.get("train")
    if reasons := [*([] if row else [f"the paper has no row for {trained}"]), *unlike_paper(facts)]:
        return {}, reasons
    listed = dict(zip(PAPER["domains"], row, strict=True))
    protocols = {name: each["protocol"] for name, each in record.results["domains"].items() if name in listed}
    differing = {name: unlike_paper(facts_of_paper(name, protocol)) for name, protocol in protocols.items()}
    scores = {name: listed[name] for name, reasons in differing.items() if not reasons}
    reasons = [f"{name}: {', '.join(reasons)}" for name, reasons in differing.items() if reasons]
    return scores, reasons if protocols else [f"the paper scores {', '.join(listed)} only"]


def facts_of_paper(domain: str, protocol: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """How a domain was scored here and in the paper."""
    theirs = {"split": "val", "mode": "whole", "scales": [1.0], "flip": False}
    theirs |= {"images": protocol.get("images_expected")} | ({"geometry": SQUARE} if domain == "mapillary" else {})
    return {key: (protocol.get(key), value) for key, value in theirs.items()}


def unlike_paper(facts: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """A text for each fact, ours and the paper's, that is not the same."""
    unlike = {name: both for name, both in facts.items() if both[0] != both[1]}
    return [f"{name} {count(ours)} (paper: {count(theirs)})" for name, (ours, theirs) in unlike.items()]


def count(value: Any) -> str:
    """The text of a value, with commas in large numbers."""
    return f"{value:,}" if type(value) is int else "unknown" if value in (None, "") else str(value)


def facts_of(record: Record, domains: Collection[str]) -> dict[str, Any]:
    """The facts that must be equal in all records for their scores on ``domains`` to be comparable; without such
    domains, the names of the record's own ones."""
    used = record.facts.get("training data", {})
    facts = {"scored": "by an evaluation" if record.results else "by the validation during training"}
    facts |= {"trained on": ", ".join(record.sources) or "unknown", "classes": ", ".join(record.classes)}
    facts |= {f"training images of {name}": f"{each.get('images')}, {each.get('hash')}" for name, each in used.items()}
    if not record.results:
        facts |= {key: record.flags.get(key) for key in VALIDATION}
    scores = record.scores()
    for name in domains:
        facts |= {f"{name}: {key}": scores[name].get("protocol", {}).get(key) for key in PROTOCOL}
    return facts if domains else facts | {"domains": ", ".join(scores) or "none"}


def differing(tables: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The entries that are not equal in all tables, with their values; '-' where one lacks it."""
    rows = {name: [str(table.get(name, "-")) for table in tables] for table in tables for name in table}
    return {name: row for name, row in rows.items() if len(set(row)) > 1}
