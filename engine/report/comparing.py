"""Which numbers may be compared: between records, and with the paper."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets.labels import CLASSES
from datasets.registry import SPECS
from engine.report.records import Record

PAPER = json.loads(Path(__file__).with_name("paper.json").read_text())  # in percent; docs/results.md has the sources
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
    if reasons := list(differences_from_paper(record, row)):
        return {}, reasons
    listed = dict(zip(PAPER["domains"], row, strict=True))
    shared = {name: record.results["domains"][name]["protocol"] for name in listed if name in record.results["domains"]}
    differing = {name: ", ".join(differences_of_domain(protocol)) for name, protocol in shared.items()}
    reasons = [f"{name}: {differs}" for name, differs in differing.items() if differs]
    scores = {name: listed[name] for name, differs in differing.items() if not differs}
    return scores, reasons if shared else [f"the paper scores {', '.join(listed)} only"]


def differences_from_paper(record: Record, row: Sequence[float] | None) -> Iterator[str]:
    if record.network != PAPER["network"]:
        yield f"the network is {record.network or 'unknown'}, the paper's {PAPER['network']}"
    if tuple(record.classes) not in ((), CLASSES):
        yield "the classes differ"
    if not row:
        yield f"the paper has no row for {record.title} trained on {' and '.join(record.sources) or 'unknown data'}"
    for name in record.sources:
        images = record.facts.get("training data", {}).get(name, {}).get("images")
        if images != (expected := SPECS[name].counts.get("train") if name in SPECS else None):
            yield f"trained on {count(images)} of {count(expected)} images of {name}"


def differences_of_domain(protocol: Mapping[str, Any]) -> Iterator[str]:
    if protocol.get("images") != protocol.get("images_expected") or protocol.get("split") != "val":
        yield f"{count(protocol.get('images'))} of {count(protocol.get('images_expected'))} images"
    for key, value in (("mode", "whole"), ("scales", [1.0]), ("flip", False)):
        if protocol.get(key) != value:
            yield f"{key} {protocol.get(key)}, not {value}"
    if protocol.get("data_set") == "mapillary" and "crop 1536x1536, padding road" not in str(protocol.get("geometry")):
        yield f"{protocol.get('geometry')}, the paper's: centre crop 1536x1536, padding road"


def count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else "an unknown number"


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
