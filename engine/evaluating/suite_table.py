"""The table of a suite: a row per checkpoint and way, a column per domain.  Imports no torch."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from utils.forms import WHOLE
from utils.intervals import shown

FILE = "runs.json"  # holds the tables of all runs, in this form (utils/forms.py)
ENTRY = {"run": str, "seed": (None, WHOLE), "roles": {str: str}, "rows": {str: {str: float}}, str: object}
FORM = {"runs": [ENTRY]}
LEGEND = "mIoU in percent; the columns behind the domains leave out those seen in training, if others are left"
INTERVAL = "± is half of the 95 % interval over runs, by Student's t"
Row = dict[str, float]  # the mIoU of each domain, then mean and worst, and the ECE if it was measured
Table = dict[str, Row]  # by checkpoint and way
Run = dict[str, Any]  # an entry


def row_of(results: Mapping[str, Mapping[str, Any]], roles: Mapping[str, str]) -> Row:
    """The row of the results of each domain."""
    row, counted = {name: results[name]["mean_iou"] for name in roles}, counted_domains(roles)
    scores = [row[name] for name in counted]
    row |= {"mean": fmean(scores), "worst": min(scores)}
    if all("calibration" in results[name] for name in counted):
        row["ECE"] = fmean(results[name]["calibration"]["ece"] for name in counted)
    return row


def titled(column: str, roles: Mapping[str, str]) -> str:
    return f"{column} (seen)" if roles.get(column) == "seen" else column


def counted_domains(roles: Mapping[str, str]) -> list[str]:
    """The domains of the mean: those that were not seen, or all if all were seen."""
    return [name for name, role in roles.items() if role != "seen"] or list(roles)


def mean_results(several: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """The mean over results that have the same domains."""
    return {name: {"mean_iou": fmean(results[name]["mean_iou"] for results in several)} for name in several[0]}


def markdown(runs: Sequence[Run]) -> str:
    """The mean over the runs, with its interval if there are several."""
    rows, roles = [run["rows"] for run in runs], runs[0]["roles"]
    columns = list(max(rows[0].values(), key=len))
    titles = [titled(name, roles) for name in columns]
    lines = []
    for name in (name for name in rows[0] if all(name in table for table in rows)):
        of_runs = {column: [table[name].get(column) for table in rows] for column in columns}
        cells = {column: "-" if None in values else shown(values) for column, values in of_runs.items()}
        worst = min(counted_domains(roles), key=lambda domain, of_runs=of_runs: sum(of_runs[domain]))
        lines.append([name, *(cells | {"worst": f"{cells['worst']} ({worst})"}).values()])
    legend = LEGEND if len(runs) == 1 else f"{LEGEND}; means of {len(runs)} runs, {INTERVAL}"
    return "\n".join([*markdown_table(["checkpoint, way", *titles], lines), "", legend, ""])


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown."""
    return ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
