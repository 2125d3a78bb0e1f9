"""Which numbers may be compared: those of several records, and those of a record with the paper's."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from datasets.labels import STANDARD
from datasets.registry import SPECS
from engine.report.records import Record

PAPER_NETWORK = "DeepR50V3PlusD"
PAPER_DOMAINS = ("cityscapes", "bdd100k", "mapillary")
PAPER = {  # sources: method: mIoU in percent on these domains; docs/results.md names the sources and the protocol
    ("gtav", "synthia"): {
        "the baseline": (33.42, 29.07, 32.19),
        "MLDG": (38.84, 31.95, 35.60),
        "Pin the Memory": (44.51, 38.07, 42.70),
    },
    ("gtav",): {
        "the baseline": (31.6, 26.7, 29.0),
        "MLDG": (36.7, 32.1, 32.2),
        "Pin the Memory": (41.0, 34.6, 37.4),
    },
    ("gtav", "synthia", "idd"): {
        "the baseline": (52.51, 47.47, 54.70),
        "MLDG": (54.76, 48.52, 55.94),
        "Pin the Memory": (56.57, 50.18, 58.31),
    },
}
MEASURED_BY = {  # entries of a protocol that decide whether scores are comparable, and what they are called
    "images_hash": "images", "images": "number of images", "split": "part of the data", "mode": "way of inference",
    "scales": "scales", "flip": "flip", "window": "window", "overlap": "overlap", "window_counts": "window counts",
    "geometry": "geometry", "gtav_labels": "labels of GTAV", "normalised_by": "normalised by",
}  # fmt: skip


def paper_scores(record: Record) -> tuple[dict[str, float], list[str]]:
    """The paper's mIoU, in percent, of each domain that was scored by the same protocol; why the others have none."""
    if not record.results:
        return {}, ["the run has not been evaluated yet"]
    row = PAPER.get(tuple(record.sources), {}).get(record.title)
    if reasons := list(differences_from_paper(record, row)):
        return {}, reasons
    scores = {}
    for name, score in zip(PAPER_DOMAINS, row, strict=True):
        if name in record.results["domains"]:
            if differs := list(differences_of_domain(record.results["domains"][name]["protocol"])):
                reasons.append(f"{name}: {', '.join(differs)}")
            else:
                scores[name] = score
    return scores, reasons or ([] if scores else [f"the paper scores {', '.join(PAPER_DOMAINS)} only"])


def differences_from_paper(record: Record, row: Sequence[float] | None) -> Iterator[str]:
    network = record.results["trained"].get("network") or {}
    arch = str(network.get("arch", "unknown")).rpartition(".")[2]
    if arch != PAPER_NETWORK:
        yield f"the network is {arch}, the paper's {PAPER_NETWORK}"
    if (network.get("classes") or {}).get("names", list(STANDARD.names)) != list(STANDARD.names):
        yield "the classes differ"
    if not row:
        yield f"the paper has no row for {record.title} trained on {' and '.join(record.sources) or 'unknown data'}"
    used = record.facts.get("training data", {})
    for name in record.sources:
        images, expected = used.get(name, {}).get("images"), SPECS[name].counts.get("train") if name in SPECS else None
        if images != expected:
            yield f"trained on {count(images)} of {count(expected)} images of {name}"


def differences_of_domain(protocol: Mapping[str, Any]) -> Iterator[str]:
    images, expected = protocol.get("images"), protocol.get("images_expected")
    if images != expected or protocol.get("split") != "val":
        yield f"{count(images)} of {count(expected)} images, {protocol.get('split')}"
    if (protocol.get("mode"), protocol.get("scales"), protocol.get("flip")) != ("whole", [1.0], False):
        yield f"inference {protocol.get('mode')} at {protocol.get('scales')}, flip {protocol.get('flip')}"
    if protocol.get("data_set") == "mapillary" and "crop 1536x1536, padding road" not in str(protocol.get("geometry")):
        yield f"{protocol.get('geometry')}, the paper's: centre crop 1536x1536, padding road"


def count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else "an unknown number"


def facts_of(record: Record) -> Iterator[tuple[str, str]]:
    """The facts that must be equal for the scores of two records to be comparable."""
    yield "scored", "by an evaluation" if record.results else "by the validation during training"
    yield "trained on", ", ".join(record.sources) or "unknown"
    for name, used in record.facts.get("training data", {}).items():
        yield f"training images of {name}", f"{used['images']}, {used['hash']}"
    for key in () if record.results else ("val_images", "mapillary_crop", "mapillary_pad", "gtav_labels"):
        yield key, str(record.flags.get(key))
    for name, domain in record.scores().items():
        yield f"{name}: classes", ", ".join(domain.get("classes", ())) or "those of training"
        for key, title in MEASURED_BY.items():
            if key in domain.get("protocol", {}):
                yield f"{name}: {title}", str(domain["protocol"][key])


def differing(tables: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The entries that are not equal in all tables, with their values; '-' where one lacks it."""
    names = dict.fromkeys(name for table in tables for name in table)
    rows = {name: [str(table.get(name, "-")) for table in tables] for name in names}
    return {name: row for name, row in rows.items() if len(set(row)) > 1}
