"""One page about trainings and evaluations, to look at and to send: ``python -m tools.report RUN [RUN ...]``.

RUN is the folder of a training, or an evaluation's folder or results.json.  Several are shown side by side.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from datasets.options import user_path
from engine.report.page import FILE, write_report
from engine.report.records import read_record
from utils.errors import UsageError
from utils.program import run_program


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.report", description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a folder or results.json; NAME=RUN gives it a name")
    parser.add_argument(
        "--out",
        type=user_path,
        metavar="FILE",
        help=f"the page (default: {FILE}, in the folder of a single RUN)",
    )
    args = parser.parse_args(argv)
    named = [named_run(text) for text in args.runs]
    records = [read_record(path, name) for name, path in named]
    folder = named[0][1].parent if named[0][1].is_file() else named[0][1]
    out = args.out or (folder / FILE if len(records) == 1 else Path(FILE))
    if out.is_dir() or not out.parent.is_dir():
        raise UsageError(f"--out {out}: give the name of a file in a folder that exists")
    write_report(records, out)
    print(f"written to {out}")


def named_run(text: str) -> tuple[str, Path]:
    """A name, which may be empty, and a path."""
    name, _, path = ("", "", text) if user_path(text).exists() else text.rpartition("=")
    return name, user_path(path)


if __name__ == "__main__":
    run_program("tools.report", main)
