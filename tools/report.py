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
    parser.add_argument("runs", nargs="+", type=user_path, metavar="RUN", help="a folder, or a results.json")
    where = f"the page (default: {FILE}, in the folder of a single RUN)"
    parser.add_argument("--out", type=user_path, metavar="FILE", help=where)
    args = parser.parse_args(argv)
    records = [read_record(path) for path in args.runs]
    first = args.runs[0]
    folder = Path() if len(records) > 1 else first if first.is_dir() else first.parent
    out = args.out or folder / FILE
    if out.is_dir() or not out.parent.is_dir():
        raise UsageError(f"--out {out}: give the name of a file in a folder that exists")
    write_report(records, out)
    print(f"written to {out}")


if __name__ == "__main__":
    run_program("tools.report", main)
