"""Makes the page from records, a template and charts."""

import os
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from statistics import fmean
from typing import Any

from PIL import Image

from engine.report.comparing import count, differing, facts_of, paper_scores
from engine.report.records import Record, read_record
from utils.errors import UsageError, first_line
from utils.files import write_text
from utils.log import counted, log

FILE = "report.html"
LIMIT = 5_000_000  # bytes of a page
WIDTHS = 640, 440, 300, 200  # pixels of a picture: the first with which the page is below the limit
MEASURES = {
    "mean_iou_frequent": "frequent classes", "accuracy": "accuracy", "ece": "calibration error",
    "near_borders": "near borders",
}  # fmt: skip
CLASSES = 30  # of a confusion matrix, the most frequent ones


def report_after(folder: Path) -> None:
    """Write the report of a run or an evaluation into its folder.  All else is done, so a failure is a warning."""
    try:
        write_report([read_record(folder)], folder / FILE)
        log.info(f"the report: {folder / FILE}")
    except Exception as error:
        log.warning(f"warning: no report ({first_line(error)}); make it by `python -m tools.report {folder}`")


def write_report(records: Sequence[Record], out: Path) -> None:
    """Write the page of these records.  UsageError if it would be too large."""
    os.environ["MPLBACKEND"] = "agg"  # a notebook's own one, which programs inherit, may not exist here
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent)
    settings = {"autoescape": True, "undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    environment = Environment(loader=loader, **settings)
    environment.filters |= {
        "percent": percent,
        "count": count,
        "counted": counted,
        "capital": lambda text: text[:1].upper() + text[1:],
    }
    template, content = environment.get_template("page.html"), content_of(records)
    for width in WIDTHS:
        page = template.render(content, picture=partial(data_uri, width=width))
        if len(page.encode(errors="replace")) < LIMIT:
            return write_text(out, page)
    raise UsageError(f"{out}: the page of {len(records)} runs would be larger than {LIMIT:,} bytes; name fewer runs")


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def content_of(records: Sequence[Record]) -> dict[str, Any]:
    """What the template shows."""
    from engine.report.charts import reliability

    names = [record.name for record in records]
    tables = [record.scores() for record in records]
    roles = {name: row["role"] for table in tables for name, row in table.items()}
    evaluated = all(record.results for record in records)
    shared = [name for name in tables[0] if evaluated and all(name in table for table in tables)]
    colours = {name: colour for record in records for name, colour in record.classes.items()}
    return {
        "records": records,
        "names": [name if names.count(name) == 1 else f"{name} {k}" for k, name in enumerate(names, start=1)],
        "tables": tables,
        "domains": {role: [name for name in roles if roles[name] == role] for role in sorted({*roles.values()})},
        "mean": mean,
        "measures": {} if len(records) > 1 else measures_in(tables[0]),
        "paper": [paper_scores(record) for record in records],
        "differences": differing([facts_of(record, shared) for record in records]),
        "settings": differing([{"code": record.facts.get("code"), **record.flags} for record in records]),
        "losses": curves(records, "train"),
        "health": curves(records, "memory"),
        "validation": curves(records, "validation"),
        "colours": {name: "#{:02x}{:02x}{:02x}".format(*colour) for name, colour in colours.items()},
        "confusion": [confusions(record) for record in records],
        "reliability": reliability,
        "examples": [examples_of(record) for record in records],
    }


def measures_in(table: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The further columns of the table of a single record: those with a number."""
    return {key: title for key, title in MEASURES.items() if any(row.get(key) is not None for row in table.values())}


def mean(table: Mapping[str, Mapping[str, Any]], names: Sequence[str], measure: str) -> float | None:
    """The mean over the domains; None if one lacks the number."""
    values = [table.get(name, {}).get(measure) for name in names]
    return None if None in values else fmean(values)


def curves(records: Sequence[Record], kind: str) -> dict[str, str]:
    """The charts of the rows of a kind.

    A chart has a number of each record, or of one record alone all domains of validations.  Meta-train and meta-test
    share a chart.
    """
    from engine.report.charts import Series, lines

    alone, charts = len(records) == 1, {}
    for number, record in enumerate(records):
        points: dict[tuple[str, str, bool], list[tuple[int, float | None]]] = {}
        for row in record.of_kind(kind):
            for key, value in numbers_of(row, alone=alone):
                points.setdefault(key, []).append((row["iteration"], value))
        for (chart, label, second), line in points.items():
            own = charts.setdefault(chart, [])
            colour, dashed = (len(own), second and kind == "validation") if alone else (number, second)
            own.append(Series(label, colour, dashed, *zip(*line, strict=True)))
    return {
        name: lines(series, title=name, legend=alone and len(series) > 1, percent=kind == "validation")
        for name, series in charts.items()
    }


def numbers_of(row: Mapping[str, Any], *, alone: bool) -> Iterator[tuple[tuple[str, str, bool], float | None]]:
    """The numbers of a row, each with its chart, its label and whether it is an unseen domain or meta-test."""
    if row["kind"] == "validation":
        value, unseen = row["mean_iou"], row["role"] == "unseen"
        yield ("mIoU" if alone else row["domain"], row["domain"], unseen and alone), value and 100 * value
        return
    for key, value in row.items():
        if key not in ("kind", "iteration"):
            part, _, name = key.rpartition("/")
            yield (name, {"inner": "meta-train", "outer": "meta-test"}.get(part, part), part == "outer"), value


def confusions(record: Record) -> dict[str, dict[str, Any]]:
    """By domain, the percentages of the predictions of each labelled class, and the five most frequent mistakes."""
    matrices = {}
    for domain in (name for name in record.details if name in record.results["domains"]):
        names, counts = list(record.results["domains"][domain]["classes"]), record.details[domain]["confusion"]
        frequent = sorted(range(len(names)), key=lambda k, rows=counts: -sum(rows[k]))[:CLASSES]
        shown = [k for k in sorted(frequent) if sum(counts[k])]
        shares = {k: [100 * count / sum(counts[k]) for count in counts[k]] for k in shown}
        mistakes = [(names[k], names[j], shares[k][j]) for k in shown for j in range(len(names)) if j != k]
        matrices[domain] = {
            "names": [names[k] for k in shown],
            "rows": [(names[k], [round(shares[k][j]) for j in shown]) for k in shown],
            "mistakes": sorted(mistakes, key=lambda mistake: -mistake[2])[:5],
        }
    return matrices


def examples_of(record: Record) -> dict[str, list[dict[str, Any]]]:
    """The best, the median and the worst image of each domain that was scored, with the files of their pictures."""
    shown: dict[str, list[dict[str, Any]]] = {}
    for domain in (name for name in record.details if name in record.results["domains"]):
        for kind, example in sorted(record.details[domain]["examples"].items()):  # best, median, worst
            stem = record.evaluation / "examples" / domain / kind
            files = {layer: Path(f"{stem}_{layer}.png") for layer in ("prediction", "labels", "errors")}
            split = record.results["domains"][domain]["protocol"].get("split")
            files["entropy"] = record.evaluation / f"{domain}_{split}" / "entropy" / f"{example['image']}.png"
            layers = {layer: path for layer, path in files.items() if path.is_file()}
            photo = Path(f"{stem}_image.png")
            if "prediction" in layers and photo.is_file():
                shown.setdefault(domain, []).append({"kind": kind, **example, "photo": photo, "layers": layers})
    return shown


def data_uri(path: Path | str, share: float = 1, *, width: int) -> str:
    """The picture, no wider than ``share`` of ``width`` pixels."""
    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
    except (OSError, SyntaxError) as error:
        raise UsageError(f"{path}: not a readable picture ({first_line(error)}); delete its folder") from error
    picture.thumbnail((int(share * width), picture.height))
    file = BytesIO()
    picture.save(file, format="webp", quality=80)
    return f"data:image/webp;base64,{b64encode(file.getvalue()).decode()}"
