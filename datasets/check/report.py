"""A report as text, with a table and a line for each finding, and as JSON."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.check.findings import ERROR, Finding
from datasets.check.listing import Split

SHOWN = 3  # findings with the same code that are shown in full


@dataclass(frozen=True)
class Report:
    """The splits of a folder and all findings, errors first."""

    root: Path
    splits: list[Split]
    findings: list[Finding]

    @property
    def errors(self) -> int:
        return sum(finding.severity == ERROR for finding in self.findings)


def as_text(report: Report) -> str:
    """What the screen shows."""
    rows = [table_row(split) for split in report.splits]
    widths = {name: max(len(name), *(len(str(row[name])) for row in rows)) for name in rows[0]}
    table = [{name: name for name in widths}, *rows]
    lines = ["  ".join(str(row[name]).ljust(width) for name, width in widths.items()).rstrip() for row in table]
    if not report.findings:
        return "\n".join([*lines, "", f"{report.root}: nothing wrong was found"])
    notes = len(report.findings) - report.errors
    summary = f"errors: {report.errors:,}, notes: {notes:,}; docs/check.md explains each code"
    return "\n".join([*lines, "", *finding_lines(report.findings), summary])


def table_row(split: Split) -> dict[str, Any]:
    errors = sum(finding.severity == ERROR for finding in split.findings)
    return {
        "data set": split.dataset.name,
        "split": split.name,
        "layout": split.pairs.layout,
        "split by": split.pairs.split_by,
        "images": len(split.pairs),
        "expected": "" if split.pairs.expected is None else split.pairs.expected,
        "opened": split.opened,
        "errors": errors,
        "notes": len(split.findings) - errors,
    }


def finding_lines(findings: list[Finding]) -> list[str]:
    """A line for each of the first findings with the same code in a split, and the number of the others."""
    groups: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        where = " ".join(filter(None, (finding.dataset, finding.split)))
        groups[f"{finding.severity}  {where}  {finding.code}"].append(finding)
    lines = []
    for start, group in groups.items():
        lines += [f"{start}  {finding.file}: {finding.message}: {finding.fix}" for finding in group[:SHOWN]]
        if len(group) > SHOWN:
            lines.append(f"{start}  ... and {len(group) - SHOWN:,} more (--json FILE lists all)")
    return lines


def as_json(report: Report) -> dict[str, Any]:
    """The same for programs, with all findings."""
    findings = [finding._asdict() for finding in report.findings]
    return {"root": str(report.root), "splits": [table_row(split) for split in report.splits], "findings": findings}
