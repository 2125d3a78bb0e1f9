"""A report as a table with a line for each fault, and as JSON."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from datasets.check.findings import ERROR, Finding
from datasets.check.listing import Split
from datasets.check.run import Report

SHOWN = 3  # faults of a kind that are told in full
_COLUMNS = ("data set", "split", "layout", "split by", "images", "expected", "opened", "errors", "notes")


def text(report: Report) -> str:
    """Everything that is shown on screen."""
    rows = [_COLUMNS, *(tuple(_row(split).values()) for split in report.splits)]
    widths = [max(len(str(row[column])) for row in rows) for column in range(len(_COLUMNS))]
    table = ["  ".join(f"{value!s:{width}}" for value, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*table, "", *lines(report.findings), summary(report)])


def lines(findings: tuple[Finding, ...]) -> Iterator[str]:
    """A line for each fault; of many of a kind the first ones, and how many more there are."""
    kinds: dict[tuple[str, ...], list[Finding]] = defaultdict(list)
    for finding in findings:
        kinds[finding.severity, finding.dataset, finding.split, finding.code].append(finding)
    for (severity, dataset, split, code), alike in kinds.items():
        where = " ".join(filter(None, (dataset, split)))
        for finding in alike[:SHOWN]:
            yield f"{severity}  {where}  {code}  {finding.file}: {finding.message}: {finding.fix}"
        if len(alike) > SHOWN:
            yield f"{severity}  {where}  {code}  ... and {len(alike) - SHOWN:,} more (--json FILE lists all)"


def summary(report: Report) -> str:
    errors = len(report.errors)
    told = f"errors: {errors:,}, notes: {len(report.findings) - errors:,}"
    return f"{told}; docs/check.md explains each kind" if report.findings else f"{report.root}: nothing wrong was found"


def as_json(report: Report) -> dict[str, Any]:
    """The same for programs."""
    rows = [_row(split) for split in report.splits]
    return {"root": str(report.root), "splits": rows, "findings": [asdict(finding) for finding in report.findings]}


def _row(split: Split) -> dict[str, Any]:
    errors = sum(finding.severity == ERROR for finding in split.findings)
    expected = "" if split.expected is None else split.expected
    values = (split.row.name, split.name, split.layout, split.split_by, len(split.samples), expected, split.checked)
    return dict(zip(_COLUMNS, (*values, errors, len(split.findings) - errors), strict=True))
