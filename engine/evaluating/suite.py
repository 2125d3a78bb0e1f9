"""Several checkpoints, ways of inference, domains and runs in one table; an interrupted command goes on."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from checkpoints.run_files import weights_hash
from datasets.corruptions import corruption_names
from engine.data_report import role_of
from engine.evaluating.assessment import (
    Sets,
    checked_domains,
    choose_classes,
    header_of,
    predictor_of,
    read_snapshot,
    score_domains,
    with_sources,
)
from engine.evaluating.prediction import Inference, Predictor
from engine.evaluating.suite_table import FILE, Run, Table, markdown, mean_results, row_of
from engine.machine import choose_device, keep_memory
from engine.options.evaluation_options import EvaluationOptions
from engine.options.resuming import run_file
from engine.report.page import report_after
from utils.distributed import start
from utils.errors import CommonError
from utils.files import write_json, write_text
from utils.log import log
from utils.processes import rank

SUITE = "suite_dg"
Ways = dict[str, tuple[Inference, str]]  # by the name in the table: how images are looked at, the corruption or ''


def score_suite(options: EvaluationOptions) -> None:
    """Score the checkpoints of all runs that the options name, and write one table."""
    given = options.suite
    check_seeds(given.runs)
    ways = ways_of(options)
    device = choose_device(options.machine.device)
    keep_memory(device)
    start(device)
    snapshots = [run / "last.pth" for run in given.runs] or [options.snapshot.snapshot]
    options = with_sources(options, read_snapshot(at(options, snapshots[0]).snapshot))
    sets = checked_domains(options)
    runs = [score_run(at(options, snapshot), sets, ways, device) for snapshot in snapshots]
    if len({run["iteration"] for run in runs}) > 1:
        done = ", ".join(f"{run['run']} at {run['iteration']}" for run in runs)
        log.warning(f"warning: --runs: not all are trained equally long ({done}); resume the shorter ones")
    place, text = place_of(options), markdown(runs)
    if given.runs:  # the folder around them
        around = Path(os.path.commonpath([run.resolve() for run in given.runs]))
        place = options.subject.out or around / (SUITE if given.name else next(iter(ways)))
    if rank() == 0:
        place.mkdir(parents=True, exist_ok=True)
        write_json(place / FILE, {"runs": runs})
        write_text(place / "table.md", text)
        log.info(f"\n{text}\nwritten to {place}")
        for page in place.glob("*/whole") if given.name and not given.runs else ():
            report_after(page)


def ways_of(options: EvaluationOptions) -> Ways:
    """A suite's four ways and the corruptions, or else the way of the options."""
    given = Inference(**asdict(options.inference))
    if not options.suite.name:
        return {given.tag: (given, "")}
    names = corruption_names() if options.suite.corruptions else ()
    return {
        "whole": (Inference(), ""),
        "half size": (Inference("pooling", (0.5,)), ""),
        "two scales": (Inference("pooling", (0.5, 1.0)), ""),
        "sliding": (replace(given, mode="sliding", flip=True), ""),
        **{name: (Inference(), name) for name in names},
    }


def check_seeds(runs: Sequence[Path]) -> None:
    """CommonError for two runs with one seed."""
    seeds = [run_file(run)["flags"].get("seed") for run in runs]
    if len({*seeds}) < len(seeds):
        raise CommonError(f"--runs: their seeds are {', '.join(map(str, seeds))}; give runs of different seeds")


def at(options: EvaluationOptions, snapshot: Path) -> EvaluationOptions:
    """The options for another checkpoint."""
    return replace(options, snapshot=replace(options.snapshot, snapshot=snapshot))


def score_run(options: EvaluationOptions, sets: Sets, ways: Ways, device: torch.device) -> Run:
    """The entry of a run in ``runs.json``: a row for each checkpoint and way."""
    rows: Table = {}
    paths = checkpoints_of(options)
    for path in paths:
        if path != paths[0] and path.samefile(paths[0]):  # the last checkpoint is the best one
            rows |= {f"{path.stem}{name.removeprefix(paths[0].stem)}": row for name, row in rows.items()}
            continue
        own = at(options, path)
        content = read_snapshot(own.snapshot)
        choose_classes(options.subject.datasets, path, content["network"])
        sources = content["flags"].get("dataset")
        roles = {name: role_of((name, images.spec.asked_as), sources) for name, images in sets.items()}
        header = header_of(options, path, content)
        header |= {"weights": weights_hash(content["weights"]), "measures": asdict(options.measures)}
        rows |= score_checkpoint(predictor_of(content, own, device), own, sets, ways, roles, header)
    trained = {"seed": content["flags"].get("seed"), "iteration": content["iteration"]}
    return {"run": str(paths[0].resolve().parent), **trained, "roles": roles, "rows": rows}


def checkpoints_of(options: EvaluationOptions) -> list[Path]:
    """For a suite the last and the best checkpoint of a run, if the snapshot is one of them; else the snapshot."""
    path = options.snapshot.snapshot
    both = [path.with_name("last.pth"), path.with_name("best.pth")]
    return both if options.suite.name and path in both and all(map(Path.is_file, both)) else [path]


def score_checkpoint(
    predict: Predictor,
    options: EvaluationOptions,
    sets: Sets,
    ways: Ways,
    roles: Mapping[str, str],
    header: dict[str, Any],
) -> Table:
    """A row for each way in which the checkpoint is scored."""
    stem, rows, under = options.snapshot.snapshot.stem, {}, []
    for way, (predict.inference, corruption) in ways.items():
        tag = f"{predict.inference.tag}_{corruption}" if corruption else predict.inference.tag
        out = place_of(options) / stem / tag
        images = {name: each.under(corruption) for name, each in sets.items()}
        title = f"{stem}, {way}"
        label = {"label": title} if options.suite.name else {}
        results = score_domains(predict, options, images, out=out, header=header | label, title=title)
        rows[title] = row_of(results, roles)
        under += [results] if corruption else []
    if under:
        rows[f"{stem}, mean of {len(under)} corruptions"] = row_of(mean_results(under), roles)
    return rows


def place_of(options: EvaluationOptions) -> Path:
    """The folder of all results of a run, or of one checkpoint."""
    if options.subject.out and not options.suite.runs:
        return options.subject.out
    home = options.snapshot.snapshot.absolute().parent
    return home / SUITE if options.suite.name else home
