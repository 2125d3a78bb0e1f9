"""Put results of ``eval.py`` side by side: ``python -m tools.compare A=RUN/last/whole B=RUN/last/whole``."""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from engine.options.parser import named_folders
from engine.program import run_program
from utils.errors import UsageError

MEASURES = {"mean_iou": "mIoU over all classes", "mean_iou_frequent": "mIoU over the classes with 1% of the pixels"}
ROLES = ("seen", "unseen", "not known")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.compare", description=__doc__)
    parser.add_argument("results", nargs="+", metavar="NAME=DIR", help="a name, and the folder with its results.json")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the tables there (Markdown)")
    args = parser.parse_args(argv)
    results = {name: read_result(folder) for name, folder in named_folders(parser, args.results).items()}
    text = "\n".join(line for measure in MEASURES for line in table(results, measure))
    print(text)
    if args.out:
        args.out.write_text(text)


def read_result(folder: Path) -> dict[str, Any]:
    path = folder / "results.json"
    try:
        result = json.loads(path.read_text())
        if isinstance(result, dict) and {"domains", "trained"} <= result.keys():
            return result
        fault = "not written by eval.py"
    except OSError as error:
        fault = error.strerror
    except ValueError as error:
        fault = f"not JSON: {error}"
    raise UsageError(f"{path}: cannot be used ({fault}); give NAME=DIR with a folder that eval.py has written")


def table(results: dict[str, dict[str, Any]], measure: str) -> Iterator[str]:
    """Markdown lines: one row per domain, the seen ones first, one column per result, in percent."""
    first = next(iter(results.values()))
    called = {domain: found["protocol"].get("data_set", domain) for domain, found in first["domains"].items()}
    roles = {domain: role_of(name, first["trained"]["flags"]) for domain, name in called.items()}
    domains = sorted(roles, key=lambda domain: ROLES.index(roles[domain]))
    rows = {domain: values(results, domain, measure) for domain in domains}
    yield f"\n{MEASURES[measure]}, in percent\n"
    yield "| domain | | all road | " + " | ".join(results) + " |"
    yield "|---|---|---" + "|---" * len(results) + "|"
    for role in ROLES:
        group = [domain for domain in domains if roles[domain] == role]
        for domain in group:
            yield line(domain, role, rows[domain])
        if len(group) > 1:
            columns = zip(*map(rows.get, group), strict=True)
            means = [None if None in column else sum(column) / len(group) for column in columns]
            yield line("**mean**", role, means)


def role_of(domain: str, trained: dict[str, Any]) -> str:
    """Whether a domain was seen, by the flags of the training; the authors' files do not tell."""
    if "dataset" not in trained:
        return "not known"
    return "seen" if domain in trained["dataset"] else "unseen"


def values(results: dict[str, dict[str, Any]], domain: str, measure: str) -> list[float | None]:
    """The score of calling everything road, None without such a class, then that of every result."""
    missing = [name for name, result in results.items() if domain not in result["domains"]]
    if missing:
        raise UsageError(f"{missing[0]}: has no result for {domain}; evaluate all with the same --dataset")
    scored = [result["domains"][domain] for result in results.values()]
    return [(scored[0]["all_road"] or {}).get(measure), *(result[measure] for result in scored)]


def line(domain: str, role: str, cells: Sequence[float | None]) -> str:
    shown = ["-" if cell is None else f"{100 * cell:.1f}" for cell in cells]
    return f"| {domain} | {role} | " + " | ".join(shown) + " |"


if __name__ == "__main__":
    run_program("tools.compare", main)
