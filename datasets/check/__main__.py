"""The data doctor's command line: ``python -m datasets.check ROOT``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from datasets.check.report import as_json, text
from datasets.check.run import SAMPLED, check
from datasets.own.custom import folder_of, is_custom, lasting_name
from datasets.registry import SPECS, check_name
from utils.errors import UsageError


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(
        prog="python -m datasets.check",
        description="Say what is wrong with data sets: what is missing, broken, of another kind than its name says, or "
        "in two splits.  Exit code 1 if anything would corrupt a result or stop a run, else 0.",
    )
    add = flags.add_argument
    add("root", metavar="ROOT", help="the folder of all data sets, or that of one of them, or custom:PATH")
    add("--dataset", nargs="+", default=[], metavar="NAME", help=f"only these, of {', '.join(SPECS)}, or custom:PATH")
    splits = sorted({split for row in SPECS.values() for split in row.splits})
    add("--split", metavar="NAME", choices=splits, help=f"only this of {', '.join(splits)}; default: all of them")
    add("--split_file", type=Path, nargs="+", default=[], metavar="PATH", help="lists that divide GTAV and SYNTHIA")
    add("--gtav_labels", choices=("ids", "colour"), default="ids", help="how GTAV labels are read")
    add("--quick", action="store_true", help=f"open {SAMPLED} pairs of each split only")
    add("--workers", type=_count, default=0, metavar="N", help="processes; 0: one per core")
    add("--json", type=Path, metavar="FILE", help="write all findings there too")
    return flags


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text}: give a whole number of 0 or more")
    return int(text)


def subject(root: str, names: Sequence[str]) -> tuple[Path, list[str]]:
    """The folder and the data sets that the command line means."""
    if is_custom(root):
        own = lasting_name(root, "")
        if known := [name for name in names if not is_custom(name)]:
            raise UsageError(f"--dataset {known[0]}: {root} is no folder of it: give the data root in its place")
        root, names = str(folder_of(own)), [own, *names]
    for name in names:
        check_name(name)
    lasting = (lasting_name(name, root) if is_custom(name) else name for name in names)
    return Path(root), list(dict.fromkeys(lasting))


def printable(told: str) -> str:
    """What the screen can show, also of file names that are no text in its encoding."""
    encoding = sys.stdout.encoding or "utf-8"
    return told.encode(encoding, "backslashreplace").decode(encoding)


def main(arguments: Sequence[str] | None = None) -> int:
    """Check what the command line asks for: 1 after an error in the data, 2 after a mistake of the user."""
    args = parser().parse_args(arguments)
    options = {"split": args.split, "split_files": args.split_file, "gtav_labels": args.gtav_labels}
    try:
        root, names = subject(args.root, args.dataset)
        report = check(root, names=names, quick=args.quick, workers=args.workers, **options)
        print(printable(text(report)))
        if args.json:
            args.json.write_text(json.dumps(as_json(report), indent=1) + "\n")
    except UsageError as error:
        print(f"datasets.check: error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"datasets.check: error: {error.filename}: {error.strerror}: name another file", file=sys.stderr)
        return 2
    return 1 if report.errors else 0


if __name__ == "__main__":
    sys.exit(main())
