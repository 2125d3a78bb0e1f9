"""Put results of ``eval.py`` side by side: ``python -m tools.compare A=RUN/last/whole B=RUN/last/whole``.

Of runs with several seeds (folders of ``eval.py --runs``), it shows means and, paired by seed, differences from the
first ones.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from engine.evaluating.suite_table import FILE, INTERVAL, LEGEND, Run, markdown_table, titled
from engine.evaluating.suite_table import FORM as RUNS
from engine.options.parser import named_folder
from engine.report.page import percent
from engine.report.records import RESULTS, roles_in
from utils.errors import UsageError
from utils.files import write_text
from utils.forms import read_json
from utils.intervals import shown
from utils.log import counted
from utils.program import run_program

MEASURES = {"mean_iou": "mIoU over all classes", "mean_iou_frequent": "mIoU over the classes with 1% of the pixels"}
Results = dict[str, dict[str, Any]]  # the content of results.json by the names that the user gave


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.compare", description=__doc__)
    parser.add_argument(
        "results",
        type=named_folder,
        nargs="+",
        metavar="NAME=DIR",
        help=f"a name, and the folder with its results.json or {FILE}",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the tables there (Markdown)")
    args = parser.parse_args(argv)
    remedy, of_runs = "give NAME=DIR, a folder of eval.py", any((folder / FILE).is_file() for _, folder in args.results)
    file, form = (FILE, RUNS) if of_runs else ("results.json", RESULTS)
    results = {name: read_json(folder / file, form, remedy=remedy) for name, folder in args.results}
    if of_runs:
        lines = table_of_runs({name: content["runs"] for name, content in results.items()})
    else:
        lines = [line for measure in MEASURES for line in table(results, measure)]
    text = "\n".join(lines)
    if args.out:
        write_text(args.out, text)
    print(text)


def table(results: Results, measure: str) -> list[str]:
    """Return Markdown lines: a row per domain, the seen ones first, and a column per result, in percent."""
    lines = []
    for role, domains in domains_by_role(next(iter(results.values()))).items():
        rows = {domain: scores(results, domain, measure) for domain in domains}
        if len(rows) > 1:
            columns = zip(*rows.values(), strict=True)
            rows["**mean**"] = [None if None in column else fmean(column) for column in columns]
        lines += [[domain, role, *map(percent, row)] for domain, row in rows.items()]
    return [f"\n{MEASURES[measure]}, in percent\n", *markdown_table(["domain", "", *results], lines)]


def table_of_runs(families: dict[str, list[Run]]) -> list[str]:
    """Return Markdown lines: a row per checkpoint, way and domain; means over runs, and differences of equal seeds."""
    first, *others = families
    head, *_ = families[first]
    titles = [f"{name} ({counted(len(runs), 'run')})" for name, runs in families.items()]
    titles += [f"{name} - {first}" for name in others]
    lines = []
    for row, column in ((row, column) for row, columns in head["rows"].items() for column in columns):
        numbers = {name: by_seed(name, runs, row, column) for name, runs in families.items()}
        cells = [shown(list(of_family.values())) for of_family in numbers.values()]
        for name in others:
            pairs = sorted(numbers[name].keys() & numbers[first].keys())
            if not pairs:
                raise UsageError(f"{name}: has no seed of {first}, and only equal seeds make pairs; use --seed")
            differences = [numbers[name][seed] - numbers[first][seed] for seed in pairs]
            cells.append(f"{shown(differences, sign='+')} ({counted(len(pairs), 'pair')})")
        lines.append([row, titled(column, head["roles"]), *cells])
    legend = f"{LEGEND}; {INTERVAL}; differences are paired by seed"
    return [*markdown_table(["checkpoint, way", "domain", *titles], lines), "", legend]


def by_seed(name: str, runs: list[Run], row: str, column: str) -> dict[int, float]:
    """Return the number of each seed; UsageError if a run lacks it."""
    try:
        return {run["seed"]: run["rows"][row][column] for run in runs}
    except KeyError as missing:
        raise UsageError(f"{name}: has no {missing} ({row}); evaluate all with the same flags") from missing


def domains_by_role(result: dict[str, Any]) -> dict[str, list[str]]:
    """Return the domains that were seen in training, and so on."""
    roles = roles_in(result)
    return {role: [name for name in roles if roles[name] == role] for role in ("seen", "unseen", "not known")}


def scores(results: Results, domain: str, measure: str) -> list[float | None]:
    """Return the score of each result."""
    for name, result in results.items():
        if domain not in result["domains"]:
            raise UsageError(f"{name}: has no result for {domain}; evaluate all with the same --dataset")
    return [result["domains"][domain][measure] for result in results.values()]


if __name__ == "__main__":
    run_program("tools.compare", main)
