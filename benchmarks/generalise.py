"""Does a method help in cities that it never saw?  Train the rows of a study with several seeds, in several processes.

``python -m benchmarks.generalise mini diagnosis --seeds 0 1 2``; the table: ``python -m benchmarks.study_table FILE``.
Each finished run adds a line to the file of results.  What stands there is not done again, so the queue can be stopped
at any moment and goes on with the same command.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any

from benchmarks.studies import LINE, SETTINGS, STUDIES, Job, job_of
from benchmarks.study_table import read_lines
from datasets.options import lasting_path
from engine.options.parser import Parser
from utils.errors import UsageError
from utils.options import ANY, COUNT
from utils.processes import own_cores
from utils.program import run_program


def main(argv: Sequence[str] | None = None) -> None:
    args = study_parser().parse_args(argv)
    setting, study = SETTINGS[args.setting], STUDIES[args.study]
    for given, known, flag in ((args.ways, setting.ways, "--ways"), (args.rows, study, "--rows")):
        if unknown := [name for name in given or () if name not in known]:
            raise UsageError(f"{flag} {unknown[0]}: choose from {', '.join(known)}")
    fresh = args.study == "confirmation"
    ways = args.ways or (list(setting.ways)[1:] if fresh else list(setting.ways)[:1])
    seeds = args.seeds or (range(20, 25) if fresh else range(3))
    results = args.results or Path("docs/results") / f"{args.setting}{'_confirmation' if fresh else ''}.jsonl"
    done = set(map(job_of, read_lines([results]))) if results.exists() else set()
    jobs = [
        Job(args.setting, way, name, study[name].flags, study[name].variants, study[name].scales, iterations, seed)
        for iterations in args.iterations or [setting.iterations]
        for seed in seeds
        for way in ways
        for name in args.rows or study
    ]
    todo = [job for job in jobs if job not in done]
    print(f"{len(todo)} of {len(jobs)} runs to do; results: {results}", flush=True)
    data, weights = args.work / args.setting, args.real / "weights" / setting.weights
    if setting.weights and not weights.is_file():
        raise UsageError(f"--real {args.real}: has no weights/{setting.weights}; name the folder of the real pictures")
    setting.draw(data, args.real)
    results.parent.mkdir(parents=True, exist_ok=True)
    if setting.threads:
        os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(setting.threads))
    workers = args.workers or max(1, own_cores() // (setting.threads or own_cores()))
    failed = 0
    with closing(finished(todo, data, weights, workers=workers)) as ended:
        for number, (job, line) in enumerate(ended, start=1):
            name = f"{number} of {len(todo)}: {job.way}, {job.row}, seed {job.seed}"
            if isinstance(line, BaseException):
                failed += 1
                print(f"{name}: {line if isinstance(line, UsageError) else repr(line)}", flush=True)
                continue
            print(name, flush=True)
            with results.open("a") as file:
                file.write(json.dumps(line) + "\n")
    if failed:
        raise UsageError(f"{failed} of {len(todo)} runs failed, as their lines say; the same command does them again")


def study_parser() -> Parser:
    parser = Parser(prog="python -m benchmarks.generalise", description=__doc__)
    parser.add_argument("setting", choices=tuple(SETTINGS), help="data and network")
    parser.add_argument("study", choices=tuple(STUDIES), help="the rows of the table")
    parser.add_argument(
        "--seeds", nargs="+", type=ANY, help="default: 0 1 2, which chose the recipe; for a confirmation 20 to 24"
    )
    parser.add_argument(
        "--ways",
        nargs="+",
        help="sources and targets (default: those that chose the recipe; for a confirmation the others)",
    )
    parser.add_argument("--rows", nargs="+", help="only these rows of the study")
    parser.add_argument("--iterations", nargs="+", type=COUNT, help="lengths of the runs (default: the setting's)")
    parser.add_argument("--workers", type=COUNT, help="runs at once (default: as many as have cores)")
    parser.add_argument("--results", type=Path, help="a line per run (default: docs/results/SETTING.jsonl)")
    parser.add_argument("--work", type=lasting_path, default="~/pinmem_studies", help="folder of the data")
    parser.add_argument(
        "--real",
        type=lasting_path,
        default="../shared/realdata",
        help="for mini: the folder of camvid, idd_lite and cityscapes, each with images, labels_coarse7, train.txt and "
        "val.txt (CamVid also test.txt), and of weights",
    )
    return parser


def finished(jobs: Sequence[Job], *places: Path, workers: int) -> Iterator[tuple[Job, dict[str, Any] | BaseException]]:
    """Run the jobs, each as a program of its own, and yield each with its line, or its error, when it has ended.

    When the generator is closed, the programs that still run are killed.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    running: list[subprocess.Popen] = []
    closed = Event()

    def run(job: Job) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="study_", ignore_cleanup_errors=True) as place:
            words = ["benchmarks.study_run", json.dumps(job._asdict()), place, *map(str, places)]
            pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, "errors": "replace"}
            with subprocess.Popen(
                [sys.executable, "-m", *words], env=os.environ | {"TQDM_DISABLE": "1"}, **pipes
            ) as process:
                running.append(process)
                if closed.is_set():  # it started while the others were killed
                    process.kill()
                said = process.communicate()[1].split("\n")
            if process.returncode:
                raise UsageError(next(filter(None, reversed(said)), f"ended with code {process.returncode}"))
            return json.loads((Path(place) / LINE).read_text())

    with ThreadPoolExecutor(workers) as pool:
        waiting = {pool.submit(run, job): job for job in jobs}
        try:
            for future in as_completed(waiting):
                yield waiting[future], future.exception() or future.result()
        finally:
            closed.set()
            pool.shutdown(wait=False, cancel_futures=True)
            for process in running:
                process.kill()


if __name__ == "__main__":
    run_program("benchmarks.generalise", main)
