"""The data doctor's command line: ``python -m datasets.check ROOT``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from datasets.check.doctor import SAMPLED, check
from datasets.check.report import Report, as_json, as_text
from datasets.own.custom import folder_of, is_custom, lasting_name
from datasets.registry import SPECS, check_name
from utils.errors import UsageError
from utils.files import write_json


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(
        prog="python -m datasets.check",
        description="Find faults in data sets: missing and broken files, wrong labels, images in two splits.  "
        "The exit code is 1 after a fault that would corrupt a result or stop a run, else 0.",
    )
    add = flags.add_argument
    add("root", metavar="ROOT", help="the folder of all data sets, the folder of one of them, or custom:PATH")
    add("--dataset", nargs="+", default=[], metavar="NAME", help=f"check only these: {', '.join(SPECS)} or custom:PATH")
    splits = sorted({split for dataset in SPECS.values() for split in dataset.splits})
    add("--split", metavar="NAME", choices=splits, help=f"check only this split: {', '.join(splits)}; default: all")
    add("--split_file", type=Path, nargs="+", default=[], metavar="PATH", help="lists that divide GTAV and SYNTHIA")
    add("--gtav_labels", choices=("ids", "colour"), default="ids", help="how GTAV labels are read")
    add("--quick", action="store_true", help=f"open only {SAMPLED} pairs of each split")
    add("--workers", type=int, default=0, metavar="N", help="number of threads; 0: Python chooses")
    add("--json", type=Path, metavar="FILE", help="write all findings to this file too")
    return flags


def root_and_names(root: str, names: Sequence[str]) -> tuple[Path, list[str]]:
    """The data root and the data sets of a command line whose ROOT may be custom:PATH."""
    if is_custom(root):
        own = lasting_name(root, "")
        if known := [name for name in names if not is_custom(name)]:
            raise UsageError(f"--dataset {known[0]}: {root} does not hold it: give the data root as ROOT")
        root, names = str(folder_of(own)), [own, *names]
    for name in names:
        check_name(name)
    lasting = [lasting_name(name, root) if is_custom(name) else name for name in names]
    return Path(root), list(dict.fromkeys(lasting))


def write_report(path: Path, report: Report) -> None:
    try:
        write_json(path, as_json(report))
    except OSError as error:
        raise UsageError(f"--json {path}: {error.strerror}: name another file") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the data and print a report; return 1 after an error in the data, 2 after a mistake of the user."""
    args = parser().parse_args(arguments)
    sys.stdout.reconfigure(errors="backslashreplace")  # names of files may be no text
    options = {"split": args.split, "split_files": args.split_file, "gtav_labels": args.gtav_labels}
    try:
        root, names = root_and_names(args.root, args.dataset)
        report = check(root, names=names, quick=args.quick, workers=args.workers, **options)
        print(as_text(report))
        if args.json:
            write_report(args.json, report)
    except (UsageError, OSError) as error:
        message = error if isinstance(error, UsageError) else f"{error.filename}: {error.strerror}: make it readable"
        print(f"datasets.check: error: {message}", file=sys.stderr)
        return 2
    return 1 if report.errors else 0


if __name__ == "__main__":
    sys.exit(main())
