"""What runs and evaluations left on disk, as the report needs it."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets.registry import titles
from engine.data_report import role_of
from methods import METHODS
from utils.errors import UsageError
from utils.forms import ANYTHING, WHOLE, read_json

# Forms (utils/forms.py) of flags.json, results.json, report.json, details.json.
FLAGS = {"flags": {"dataset": (..., None, [str]), str: object}, str: object}
PROTOCOL = {"data_set": (..., str), str: object}
MEASURED = {"mean_iou": (None, float), "mean_iou_frequent": (None, float)}
SCORED = MEASURED | {"classes": {str: ANYTHING}, "protocol": PROTOCOL, str: object}
RESULTS = {"domains": {str: SCORED}, "trained": FLAGS, "snapshot": str, str: object}
MEMORY_REPORT = {"domains": {str: {"classes": {str: ANYTHING}, str: object}}, str: object}
EXAMPLE = {"image": str, "mean_iou": float, str: object}
DETAILS = {str: {"examples": {str: EXAMPLE}, "confusion": [[WHOLE]], str: object}}
REMEDY = "delete it, or name another folder"


@dataclass(frozen=True)
class Record:
    """A training, an evaluation, or a training with the evaluation of its checkpoint."""

    name: str
    training: Path | None  # the folder of the run
    evaluation: Path | None  # the folder with results.json
    facts: Mapping[str, Any]  # flags.json of the run, or what results.json says about it
    results: Mapping[str, Any]  # results.json; empty without an evaluation
    rows: Sequence[Mapping[str, Any]]  # of metrics.jsonl
    details: Mapping[str, Any] = field(default_factory=dict)  # details.json, which older evaluations do not have
    memory_report: Mapping[str, Any] = field(default_factory=dict)  # report.json
    pictures: Mapping[str, Path] = field(default_factory=dict)  # of figures: similarity, patches, by class, by domain

    @property
    def flags(self) -> Mapping[str, Any]:
        return self.facts["flags"]

    @property
    def title(self) -> str:
        """The method for people."""
        entry = METHODS.get(self.flags.get("method"))
        return entry.title if entry else "a method of its own" if self.flags else "weights of the authors' release"

    @property
    def sources(self) -> list[str]:
        """The names of the training data; for own data their titles, which show no path."""
        names = dict.fromkeys(self.flags.get("dataset") or ())
        own = titles(names)
        return [own.get(name, name) for name in names]

    @property
    def network(self) -> str:
        """The short name of the architecture."""
        return str((self.facts.get("network") or {}).get("arch", "")).rpartition(".")[2]

    @property
    def classes(self) -> dict[str, list[int]]:
        """The colour of each class; empty where the checkpoint does not name them."""
        classes = (self.facts.get("network") or {}).get("classes") or {"names": [], "colours": []}
        return dict(zip(classes["names"], classes["colours"], strict=True))

    @property
    def iteration(self) -> int | None:
        """Of the scored checkpoint, or the last one of the log."""
        done = max((row["iteration"] for row in self.rows), default=None)
        return self.results["trained"].get("iteration") if self.results else done

    @property
    def date(self) -> str:
        file = self.evaluation / "results.json" if self.evaluation else self.training / "flags.json"
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(file.stat().st_mtime))

    def of_kind(self, kind: str) -> list[Mapping[str, Any]]:
        return [row for row in self.rows if row["kind"] == kind]

    def scores(self) -> dict[str, Mapping[str, Any]]:
        """The overall numbers of each domain with its role: of the evaluation, or else of the last validation."""
        if self.results:
            roles, domains = roles_in(self.results), self.results["domains"]
            return {name: measured_of(each) | {"role": roles[name]} for name, each in domains.items()}
        rows = self.of_kind("validation")
        return {row["domain"]: row for row in rows if row["iteration"] == rows[-1]["iteration"]}


def measured_of(domain: Mapping[str, Any]) -> dict[str, Any]:
    """A domain of results.json, with what was measured beside the mIoU as overall numbers."""
    ece, near_borders = domain.get("calibration", {}).get("ece"), domain.get("boundary_iou", {}).get("mean")
    return {**domain, "ece": ece, "near_borders": near_borders}


def roles_in(results: Mapping[str, Any]) -> dict[str, str]:
    """The role of each domain of a results.json."""
    sources, domains = results["trained"]["flags"].get("dataset"), results["domains"]
    return {name: role_of((name, each["protocol"].get("data_set", name)), sources) for name, each in domains.items()}


def read_record(path: Path) -> Record:
    """What ``path`` holds: the folder of a run, of an evaluation, or a results.json.  UsageError if it is neither."""
    folder = path.parent if path.name == "results.json" else path
    evaluation = folder if (folder / "results.json").is_file() else None
    training = folder if (folder / "flags.json").is_file() else None
    if not evaluation and not training:
        raise UsageError(
            f"{path}: neither flags.json nor results.json is here; give the folder of a run, or of an evaluation"
        )
    if not evaluation:  # the newest one of a checkpoint of the run
        files = [*folder.glob("*/*/results.json"), *folder.glob("suite_dg/*/whole/results.json")]
        found = sorted(files, key=lambda file: file.stat().st_mtime)
        evaluation = found[-1].parent if found else None
    results = read_json(evaluation / "results.json", RESULTS, remedy=REMEDY) if evaluation else {}
    snapshot = Path(results["snapshot"]) if results else folder / "last.pth"
    if not training and (snapshot.parent / "flags.json").is_file():
        training = snapshot.parent
    facts = read_json(training / "flags.json", FLAGS, remedy=REMEDY) if training else results["trained"]
    file = evaluation / "details.json" if evaluation else Path()
    details = read_json(file, DETAILS, remedy=REMEDY) if file.is_file() else {}
    return Record(
        results.get("label") or facts["flags"].get("exp") or folder.name,
        training,
        evaluation,
        facts,
        results,
        list(log_rows(training / "metrics.jsonl")) if training else [],
        details,
        **figures([*([evaluation] if evaluation else []), snapshot.with_suffix("")]),
    )


def log_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a log, without what a kill left half written."""
    for line in path.read_text("utf-8", "replace").splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("iteration"), int) and "kind" in row:
            yield row


def figures(places: Sequence[Path]) -> dict[str, Any]:
    """The memory report and the pictures of t-SNE from the first of these folders that has them."""
    report: dict[str, Any] = {}
    pictures: dict[str, Path] = {}
    for place in places:
        file = place / "memory_report" / "report.json"
        if not report and file.is_file():
            report = read_json(file, MEMORY_REPORT, remedy=REMEDY)
            pictures |= {name: file.with_name(f"{name}.png") for name in ("similarity", "patches")}
        for picture in sorted(place.glob("tsne/*/*_1_*.png")):
            pictures.setdefault(f"by {picture.stem.rpartition('_')[2]}", picture)
    return {"memory_report": report, "pictures": pictures}
