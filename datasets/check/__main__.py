"""The data doctor's command line: ``python -m datasets.check ROOT``."""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets.check.doctor import SAMPLED, Report, check
from datasets.check.findings import ERROR, Finding
from datasets.check.listing import Split
from datasets.registry import NAMES, SPECS
from utils.errors import UsageError
from utils.files import write_json
from utils.program import run_program

SHOWN = 3  # findings with the same code that are shown in full


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(
        prog="python -m datasets.check",
        description="Find faults in data sets: missing and broken files, wrong labels, images in two splits.  "
        "The exit code is 1 after a fault that would corrupt a result or stop a run, else 0.",
    )
    add = flags.add_argument
    add("root", metavar="ROOT", help="the folder of all data sets, the folder of one of them, or custom:PATH")
    add("--dataset", nargs="+", default=[], metavar="NAME", help=f"check only these: {NAMES}")
    splits = sorted({split for dataset in SPECS.values() for split in dataset.splits})
    add("--split", choices=splits, help="check only this split")
    add("--split_file", type=Path, nargs="+", default=[], metavar="PATH", help="lists that divide a flat data set")
    add("--gtav_labels", choices=("ids", "colour"), default="ids", help="how GTAV labels are read")
    add("--quick", action="store_true", help=f"open only {SAMPLED} pairs of each split")
    add("--json", type=Path, metavar="FILE", help="write all findings to this file too")
    return flags


def as_text(report: Report) -> str:
    """What the screen shows: a table of the splits, then the findings."""
    rows = [table_row(split) for split in report.splits]
    table = [list(rows[0]), *([str(cell) for cell in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in table]
    notes = len(report.findings) - report.errors
    summary = f"errors: {report.errors:,}, notes: {notes:,}; docs/check.md explains each code"
    if not report.findings:
        summary = f"{report.root}: nothing wrong was found"
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
        "errors": errors,
        "notes": len(split.findings) - errors,
    }


def finding_lines(findings: Sequence[Finding]) -> list[str]:
    """A line for each of the first findings with the same code in a split, and the number of the others."""
    groups: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        where = f"{finding.dataset} {finding.split}".strip()
        groups[f"{finding.severity}  {where}  {finding.code}"].append(finding)
    lines = []
    for start, group in groups.items():
        lines += [f"{start}  {finding.file}: {finding.message}: {finding.fix}" for finding in group[:SHOWN]]
        if len(group) > SHOWN:
            lines.append(f"{start}  ... and {len(group) - SHOWN:,} more (--json FILE lists all)")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the data and print a report; return 1 after an error in the data, else 0."""
    args = parser().parse_args(arguments)
    options = {"split": args.split, "split_files": args.split_file, "gtav_labels": args.gtav_labels}
    if args.json and not args.json.parent.is_dir():
        raise UsageError(f"--json {args.json}: its folder does not exist: name another file")
    report = check(args.root, names=args.dataset, quick=args.quick, **options)
    try:
        if args.json:
            splits = [table_row(split) for split in report.splits]
            findings = [finding._asdict() for finding in report.findings]
            write_json(args.json, {"root": str(report.root), "splits": splits, "findings": findings})
    finally:  # a report takes hours
        print(as_text(report))
    return 1 if report.errors else 0


if __name__ == "__main__":
    run_program("datasets.check", main)
