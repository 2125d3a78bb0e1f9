"""Makes the page from records, a template and charts."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from engine.report.comparing import count, differing, facts_of, paper_scores
from engine.report.pictures import data_uri
from engine.report.records import Record, read_record
from utils.errors import UsageError, first_line
from utils.files import write_text
from utils.log import log

FILE = "report.html"
LIMIT = 5_000_000  # bytes of a page
WIDTHS = 640, 440, 300, 200  # pixels of a picture: the first with which the page is below the limit
CLASSES = 30  # of a confusion matrix, the most frequent ones
PARTS = {"": "", "inner": "meta-train", "outer": "meta-test"}  # of an iteration, by the prefixes of losses
ROLES = {"seen": "seen in training", "unseen": "never seen", "not known": "not known whether seen"}
TITLES = {
    "seg": "segmentation", "aux": "auxiliary head", "coh": "feature cohesion", "div": "memory divergence",
    "cls": "item classification", "lr": "learning rate", "item_cosine": "mean cosine between items",
    "item_cosine_max": "largest cosine between items", "read_entropy": "entropy of a read, share of its maximum",
    "own_item": "pixels nearest to their own item", "item_accuracy": "items that are recognised",
    "recalled": "variance that comes from the items",
}  # fmt: skip


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

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "count": count, "capital": lambda text: text[:1].upper() + text[1:]}
    template, content = environment.get_template("page.html"), content_of(records)
    for width in WIDTHS:
        page = template.render(content, picture=lambda path, share=1.0, width=width: data_uri(path, int(share * width)))
        if len(page.encode(errors="replace")) < LIMIT:
            write_text(out, page)
            return
    raise UsageError(f"{out}: the page of {len(records)} runs would be larger than {LIMIT:,} bytes; name fewer runs")


def distinct(names: Sequence[str]) -> list[str]:
    """The names, with a number where several are equal."""
    return [name if names.count(name) == 1 else f"{name} {k}" for k, name in enumerate(names, start=1)]


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def content_of(records: Sequence[Record]) -> dict[str, Any]:
    """What the template shows."""
    from engine.report.charts import reliability

    tables = [record.scores() for record in records]
    roles = {name: row["role"] for table in tables for name, row in table.items()}
    evaluated = [record.results.get("domains", {}) for record in records]
    return {
        "records": records,
        "names": distinct([record.name for record in records]),
        "embedded": any("by class" in record.pictures for record in records),
        "tables": tables,
        "domains": {role: [name for name in roles if roles[name] == role] for role in ROLES if role in roles.values()},
        "roles": ROLES,
        "mean": mean,
        "paper": [paper_scores(record) for record in records],
        "differences": differing([dict(facts_of(record)) for record in records]),
        "settings": differing([{"code": record.facts.get("code"), **record.flags} for record in records]),
        "losses": curves(records, "train"),
        "health": curves(records, "memory"),
        "validation": validation_curves(records),
        "classes": classes_of(evaluated),
        "colours": colours_of(records),
        "confusion": [{name: confusion(rows) for name, rows in record.confusion.items()} for record in records],
        "calibration": [
            {
                name: reliability(domain["calibration"]["bins"], title=f"calibration on {name}")
                for name, domain in domains.items()
                if "calibration" in domain
            }
            for domains in evaluated
        ],
        "examples": [examples_of(record) for record in records],
    }


def mean(table: Mapping[str, Mapping[str, Any]], names: Sequence[str], measure: str) -> float | None:
    """The mean over the domains; None if one lacks the number."""
    values = [table.get(name, {}).get(measure) for name in names]
    return None if None in values else fmean(values)


def curves(records: Sequence[Record], kind: str) -> list[tuple[str, str]]:
    """A chart for each number in the rows of this kind; meta-train and meta-test share one."""
    from engine.report.charts import Series, lines

    charts: dict[str, list[Series]] = {}
    for number, record in enumerate(records):
        rows = record.of_kind(kind)
        for key in dict.fromkeys(key for row in rows for key in row if key not in ("kind", "iteration")):
            part, _, name = key.rpartition("/")
            second = part == "outer"
            colour = number if len(records) > 1 else int(second)
            x, y = zip(*((row["iteration"], row[key]) for row in rows if key in row), strict=True)
            series = Series(PARTS.get(part, part), colour, second and len(records) > 1, x, y)
            charts.setdefault(name, []).append(series)
    alone = len(records) == 1
    return [
        (TITLES.get(name, name), lines(series, title=TITLES.get(name, name), legend=alone and len(series) > 1))
        for name, series in charts.items()
    ]


def validation_curves(records: Sequence[Record]) -> list[tuple[str, str]]:
    """mIoU in percent: of one record a chart with all domains, of several a chart for each domain."""
    from engine.report.charts import Series, lines

    charts: dict[str, list[Series]] = {}
    alone = len(records) == 1
    for number, record in enumerate(records):
        rows = record.of_kind("validation")
        for place, domain in enumerate(dict.fromkeys(row["domain"] for row in rows)):
            own = [row for row in rows if row["domain"] == domain]
            x, y = [row["iteration"] for row in own], [row["mean_iou"] and 100 * row["mean_iou"] for row in own]
            series = Series(domain, place if alone else number, alone and own[0]["role"] == "unseen", x, y)
            charts.setdefault("all domains" if alone else domain, []).append(series)
    return [(name, lines(each, title=f"mIoU of {name}", legend=alone, percent=True)) for name, each in charts.items()]


def classes_of(evaluated: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The classes of each domain, those of all records."""
    names: dict[str, dict[str, None]] = {}
    for domains in evaluated:
        for name, domain in domains.items():
            names.setdefault(name, {}).update(dict.fromkeys(domain["classes"]))
    return {name: list(classes) for name, classes in names.items()}


def colours_of(records: Sequence[Record]) -> dict[str, str]:
    """The colours of classes by name, as the networks keep them."""
    sets = [(record.facts.get("network") or {}).get("classes") or {"names": [], "colours": []} for record in records]
    pairs = [pair for each in sets for pair in zip(each["names"], each["colours"], strict=True)]
    return {name: "#{:02x}{:02x}{:02x}".format(*colour) for name, colour in pairs}


def confusion(rows: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Of each labelled class the percentages of the predictions, and the five most frequent mistakes."""
    names, counts = rows[0][1:], [[int(cell) for cell in row[1:]] for row in rows[1:]]
    frequent = sorted(range(len(names)), key=lambda k: -sum(counts[k]))[:CLASSES]
    shown = [k for k in sorted(frequent) if sum(counts[k])]
    shares = {k: [100 * count / sum(counts[k]) for count in counts[k]] for k in shown}
    mistakes = [(names[k], names[j], shares[k][j]) for k in shown for j in range(len(names)) if j != k]
    return {
        "names": [names[k] for k in shown],
        "rows": [(names[k], [round(shares[k][j]) for j in shown]) for k in shown],
        "mistakes": sorted(mistakes, key=lambda mistake: -mistake[2])[:5],
    }


def examples_of(record: Record) -> dict[str, list[dict[str, Any]]]:
    """The best, the median and the worst image of each domain that was scored, with the files of their pictures."""
    examples: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(record.images, key=lambda row: row["example"]):  # best, median, worst
        domain = record.results["domains"].get(row["domain"])
        if not row["example"] or domain is None:
            continue
        stem = record.evaluation / "examples" / row["domain"] / row["example"]
        entropy = record.evaluation / f"{row['domain']}_{domain['protocol'].get('split')}" / "entropy"
        layers = {kind: Path(f"{stem}_{kind}.png") for kind in ("prediction", "labels", "errors")}
        layers["entropy"] = entropy / f"{row['image']}.png"
        layers = {kind: path for kind, path in layers.items() if path.is_file()}
        photo = Path(f"{stem}_image.jpg")
        if photo.is_file() and layers:
            examples.setdefault(row["domain"], []).append({**row, "photo": photo, "layers": layers})
    return examples
