"""Tables and figures of finished runs, from their lines alone: ``python -m benchmarks.study_table FILE [FILE ...]``."""

import base64
import json
import math
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

from benchmarks.studies import GROUPS, STUDIES, Job
from datasets.labels import STANDARD
from engine.options.parser import Parser
from utils.errors import UsageError
from utils.files import write_text
from utils.program import run_program

DRAWS = 2000  # of the bootstrap
Line = dict[str, Any]
Runs = dict[tuple[str, int], Line]  # of a row, by way and seed
Rows = dict[tuple[str, int], Runs]  # by name and iterations
Differences = Mapping[tuple[str, int], Any]
NEEDED = {*Job._fields, "curve", "miou", "counts"}  # in a line


def pack(counts: np.ndarray) -> dict[str, Any]:
    """Counts of pixels (images,3,K) as text."""
    data = base64.b64encode(zlib.compress(counts.astype("<u4").tobytes(), 9)).decode()
    return {"shape": list(counts.shape), "data": data}


def unpack(packed: Mapping[str, Any]) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(packed["data"])), "<u4").reshape(packed["shape"])


def mean_iou(counts: np.ndarray) -> float:
    """The mean IoU of summed counts of hits, labelled and predicted pixels by class (images,3,K)."""
    return float(ious(counts.sum(axis=0)))


def ious(totals: np.ndarray) -> np.ndarray:
    """Mean IoU of totals (...,3,K) over the classes that occur."""
    return np.nanmean(class_ious(totals), axis=-1)


def class_ious(totals: np.ndarray) -> np.ndarray:
    """IoU (...,K) of totals (...,3,K); NaN for a class that does not occur."""
    hits, labelled, predicted = np.moveaxis(totals.astype(np.float64), -2, 0)
    union = labelled + predicted - hits
    return np.divide(hits, union, out=np.full_like(hits, np.nan), where=union > 0)


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(prog="python -m benchmarks.study_table", description=__doc__)
    parser.add_argument("results", nargs="+", type=Path, metavar="FILE", help="lines of benchmarks.generalise")
    parser.add_argument("--study", choices=tuple(STUDIES), help="only the rows of this study, in its order")
    parser.add_argument(
        "--against", nargs="+", default=["baseline"], metavar="ROW", help="rows to subtract; a figure has the first one"
    )
    parser.add_argument("--ways", nargs="+", metavar="NAME", help="only these sources and targets")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="N", help="only runs with these seeds")
    parser.add_argument("--iterations", type=int, nargs="+", metavar="N", help="only runs of these lengths")
    parser.add_argument("--by_class", action="store_true", help="the IoU of each class on unseen domains instead")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the table there (Markdown)")
    parser.add_argument(
        "--figure", type=Path, metavar="FILE", help="draw differences, or curves over several lengths, there (PNG)"
    )
    args = parser.parse_args(argv)
    rows = rows_of(chosen_lines(args.results, way=args.ways, seed=args.seeds, iterations=args.iterations))
    known = list(dict.fromkeys(name for name, _ in rows))
    if unknown := [name for name in args.against if name not in known]:
        raise UsageError(f"--against {unknown[0]}: no such row; choose from {', '.join(known)}")
    shown = list(dict.fromkeys((*args.against, *STUDIES[args.study]))) if args.study else known
    order = sorted((shown.index(name), length) for name, length in rows if name in shown)
    rows = {(shown[place], length): rows[shown[place], length] for place, length in order}
    differences = {against: differences_from(against, rows) for against in args.against}
    text = table_of_classes(rows) if args.by_class else table(rows, differences)
    print(text)
    if args.out:
        write_text(args.out, text + "\n")
    if args.figure and len(lengths_of(rows)) > 1:
        draw_lengths(args.figure, rows)
    elif args.figure:
        draw(args.figure, differences[args.against[0]], against=args.against[0])


def chosen_lines(paths: Sequence[Path], **wanted: Sequence[Any] | None) -> list[Line]:
    """The finished runs whose entries have the wanted values (None: any).  UsageError for none, or for two settings."""
    lines = [
        line
        for line in read_lines(paths)
        if all(values is None or line[name] in values for name, values in wanted.items())
    ]
    if not lines:
        raise UsageError("no finished run is in these files, with these --ways, --seeds and --iterations")
    if len(settings := sorted({line["setting"] for line in lines})) > 1:
        remedy = "choose by --ways or --iterations, or give files of one setting"
        raise UsageError(f"runs of {' and '.join(settings)} have no common mean: {remedy}")
    return lines


def read_lines(paths: Sequence[Path]) -> list[Line]:
    """The finished runs in these files.  UsageError for a line of something else, such as a half one."""
    lines = []
    for path in paths:
        for number, text in enumerate(path.read_text("utf-8").splitlines(), start=1):
            try:
                lines.append(json.loads(text))
                complete = lines[-1].keys() >= NEEDED
            except (ValueError, AttributeError):
                complete = False
            if not complete:
                raise UsageError(f"{path}: line {number} is no finished run of benchmarks.generalise; delete this line")
    return lines


def rows_of(lines: Sequence[Line]) -> Rows:
    rows: Rows = defaultdict(dict)
    for line in lines:
        rows[line["row"], line["iterations"]][line["way"], line["seed"]] = line
    return dict(rows)


def lengths_of(rows: Rows) -> list[int]:
    return sorted({length for _, length in rows})


def mean_of(line: Line, role: str, checkpoint: str) -> float:
    """Mean IoU over the domains of a role; lines have counts of the unseen ones only."""
    unseen = role == "unseen"
    return fmean(value for domain, value in line["miou"][checkpoint].items() if (domain in line["counts"]) == unseen)


def oracle(line: Line) -> float:
    """The unseen mean IoU of the last iterate, and what the best validation on the target gains over the last one.

    No one may choose so.  Validations see fewer pictures, so their own values cannot be compared with other columns.
    """
    by_iteration: dict[int, list[float]] = defaultdict(list)
    for iteration, _, role, value in line["curve"]:
        if role == "unseen":
            by_iteration[iteration].append(value)
    means = [fmean(values) for _, values in sorted(by_iteration.items())]
    return mean_of(line, "unseen", "last") + max(means) - means[-1]


def differences_from(against: str, rows: Rows) -> Differences:
    """The difference of every other row to this one, between runs of the same length."""
    return {
        (name, length): difference(runs, rows.get((against, length), {}))
        for (name, length), runs in rows.items()
        if name != against
    }


def difference(runs: Runs, others: Runs) -> tuple[int, float, float, float] | None:
    """Number of pairs, mean difference of the unseen mean IoU of the last iterates, and its 95 % interval, in points.

    Runs with the same sources, targets and seed are pairs.  The interval is about other seeds and other pictures of the
    same targets, not about other targets.  The margin is the root of the summed squares of two parts:
    Student's t over the pairs, and a bootstrap over pictures, the same ones for all runs.  None for one pair or none.
    """
    from scipy.stats import t  # slow to import

    keys = [key for key in runs if key in others]
    if len(keys) < 2:
        return None
    each = [mean_of(runs[key], "unseen", "last") - mean_of(others[key], "unseen", "last") for key in keys]
    over_pairs = t.ppf(0.975, len(keys) - 1) * stdev(each) / len(keys) ** 0.5
    draws = [paired_draws(runs[key], others[key]) for key in keys]
    over_pictures = t.ppf(0.975, math.inf) * np.mean(draws, axis=0).std()
    mean, margin = fmean(each), math.hypot(over_pairs, over_pictures)
    return len(keys), 100 * mean, 100 * (mean - margin), 100 * (mean + margin)


def paired_draws(one: Line, other: Line) -> np.ndarray:
    """Differences (draws) of two runs' unseen mean IoU over pictures drawn with replacement, for all runs the same."""
    ours, theirs = (
        [
            ious_of_draws(domain, packed["data"], tuple(packed["shape"]))
            for domain, packed in sorted(line["counts"].items())
        ]
        for line in (one, other)
    )
    return np.mean(ours, axis=0) - np.mean(theirs, axis=0)


@cache
def ious_of_draws(domain: str, data: str, shape: tuple[int, ...]) -> np.ndarray:
    """Mean IoU (draws) of packed counts over pictures of a domain, drawn with replacement."""
    counts = unpack({"data": data, "shape": shape})
    weights = np.random.default_rng([*domain.encode()]).multinomial(
        len(counts), np.full(len(counts), 1 / len(counts)), size=DRAWS
    )
    return ious(np.tensordot(weights, counts, 1))


def table(rows: Rows, differences: Mapping[str, Differences]) -> str:
    """A Markdown table; mean IoU in percent, means over runs; columns of differences to these rows."""
    apart = [f"unseen - {against} [95 %]" for against in differences]
    head = ["row", "runs", "unseen", *apart, "seen", "unseen, best on sources", "unseen, oracle"]
    lines = [head, ["---"] * len(head)]
    for (name, length), runs in rows.items():
        each = runs.values()
        numbers = [fmean(mean_of(line, *which) for line in each) for which in (("unseen", "last"), ("seen", "last"))]
        numbers += [fmean(mean_of(line, "unseen", "best") for line in each), fmean(map(oracle, each))]
        unseen, *others = (f"{100 * value:.1f}" for value in numbers)
        intervals = [interval(of_rows.get((name, length)), runs=len(runs)) for of_rows in differences.values()]
        lines.append([label(name, length, rows), str(len(runs)), unseen, *intervals, *others])
    return markdown(lines)


def table_of_classes(rows: Rows) -> str:
    """IoU in percent on unseen domains, means over runs and domains."""
    lines = []
    for (name, length), runs in rows.items():
        each = [class_ious(unpack(counts).sum(axis=0)) for line in runs.values() for counts in line["counts"].values()]
        lines.append(
            [label(name, length, rows), str(len(runs)), *(f"{100 * value:.1f}" for value in np.nanmean(each, axis=0))]
        )
    classes = [*GROUPS] if len(lines[0]) == 2 + len(GROUPS) else STANDARD.names
    return markdown([["row", "runs", *classes], ["---"] * len(lines[0]), *lines])


def label(name: str, length: int, rows: Rows) -> str:
    return f"{name}, {length:,} iterations" if len(lengths_of(rows)) > 1 else name


def markdown(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def interval(apart: tuple[int, float, float, float] | None, *, runs: int) -> str:
    """The difference and its interval; also the number of pairs if it is less than the row's ``runs``."""
    if apart is None:
        return ""
    pairs, mean, low, high = apart
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]{f' ({pairs} pairs)' if pairs < runs else ''}"


def draw(path: Path, differences: Differences, *, against: str) -> None:
    """A line per row: its difference on unseen domains, and the interval."""
    from matplotlib.figure import Figure  # slow to import

    shown = {name: apart for (name, _), apart in differences.items() if apart}
    if not shown:
        raise UsageError(f"--figure: no row has two runs with the ways and seeds of {against}; train more seeds")
    figure = Figure(figsize=(7, 0.7 + 0.19 * len(shown)), layout="constrained")
    axes = figure.add_subplot()
    for place, (_, mean, low, high) in enumerate(shown.values()):
        axes.plot([low, high], [place, place], color="0.6", linewidth=2, solid_capstyle="round")
        axes.plot(mean, place, "o", color="tab:blue" if low > 0 else "tab:red" if high < 0 else "0.3", markersize=5)
    axes.axvline(0, color="0.8", zorder=0)
    axes.set_yticks(range(len(shown)), list(shown), fontsize=8)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlabel(f"mIoU on unseen domains, difference from {against}, in points; 95 % interval", fontsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure.savefig(path, dpi=150, bbox_inches="tight", format="png")


def draw_lengths(path: Path, rows: Rows) -> None:
    """Curves of the unseen mean IoU over the length of training, and a point per run."""
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.add_subplot()
    for number, name in enumerate(dict.fromkeys(name for name, _ in rows)):
        points = {
            length: [100 * mean_of(line, "unseen", "last") for line in rows[name, length].values()]
            for length in lengths_of(rows)
            if (name, length) in rows
        }
        for length, values in points.items():
            axes.plot([length] * len(values), values, ".", color=f"C{number}", alpha=0.5)
        axes.plot(list(points), list(map(fmean, points.values())), color=f"C{number}", label=name)
    axes.set_xscale("log", base=2)
    axes.set_xticks(lengths_of(rows), [f"{length:,}" for length in lengths_of(rows)])
    axes.set_xlabel("iterations")
    axes.set_ylabel("mIoU on unseen domains, %")
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150, format="png")


if __name__ == "__main__":
    run_program("benchmarks.study_table", main)
