"""The frame of all benchmarks: options, cases in fresh processes, turns, medians, a table and a JSON file.

A benchmark is a dataclass of options and a subclass of ``Case``.
"""

import re
import resource
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from engine.machine import choose_device
from engine.options.parser import Parser
from engine.program import run_program
from engine.run_log import code_version
from utils.files import write_json
from utils.options import COUNT, add_options, fill, option
from utils.processes import own_cores

Rows = dict[str, dict[str, float]]  # figures by row and column of the table


@dataclass(frozen=True)
class Options:
    """The options that benchmarks share.  A benchmark that redefines one without a flag does not offer it."""

    cases: tuple[str, ...] = ()  # what is measured, by name
    device: str = option("auto", "auto, cpu, cuda, cuda:1, mps")
    amp: str = option("off", "precision", choices=("off", "bf16"))
    threads: int | None = option(None, "threads of torch (default: torch's own choice)", type=COUNT, metavar="N")
    processor_time: bool = option(False, "processor seconds, which other programs hardly lengthen; for one thread")
    repeats: int = option(7, "measured turns, after the warm-up", type=COUNT, metavar="N")
    json: Path | None = option(None, "write all turns, options and the machine there", type=Path, metavar="FILE")


class Case:
    """A case of a benchmark, ready to be measured in a process of its own.

    ``turn`` returns the figures of one turn; the table shows their medians.  The median of a ratio varies less than
    the ratio of two medians, so a turn computes its own ratios.
    """

    title = "method"  # of the first column of the table
    peak_runs = 0  # calls of ``work`` before the peak of the memory is read; 0: it is not measured
    turn: Callable[[], Rows]

    def __init__(self, name: str, options: Options) -> None:
        torch.set_num_threads(options.threads or torch.get_num_threads())
        torch.manual_seed(0)
        self.name, self.device = name, choose_device(options.device)
        on_processor = options.processor_time and self.device.type == "cpu"
        self.clock = time.process_time if on_processor else time.perf_counter

    def warm_up(self) -> None:
        self.turn()

    def seconds(self, function: Callable[..., object], *args: Any) -> float:
        """The duration of a call, until the device has finished."""
        start = self.clock()
        function(*args)
        self.wait()
        return self.clock() - start

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def run_benchmark(name: str, description: str, options_class: type[Options], case: type[Case]) -> None:
    """The program ``python -m benchmarks.NAME``."""

    def main() -> None:
        parser = Parser(prog=f"python -m benchmarks.{name}", description=description)
        add_options(parser, options_class)
        options = fill(options_class, parser.parse_args())
        turns, rows = {}, {}
        for each in options.cases:
            turns[each] = in_own_process(measure, case, each, options)
            rows |= medians(turns[each])
            if case.peak_runs:
                rows[each]["peak GB"] = in_own_process(peak_memory, case, each, options)
        print(table(case.title, rows))
        if options.json:
            content = {"options": asdict(options), "machine": machine(options), "medians": rows, "turns": turns}
            write_json(options.json, content)

    run_program(f"benchmarks.{name}", main)


def in_own_process(function: Callable, *args: Any) -> Any:
    """Call in a fresh process, which inherits no memory."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def measure(case: type[Case], name: str, options: Options) -> list[Rows]:
    ready = case(name, options)
    ready.warm_up()
    return [ready.turn() for _ in range(options.repeats)]


def medians(turns: list[Rows]) -> Rows:
    return {
        row: {column: statistics.median(turn[row][column] for turn in turns) for column in figures}
        for row, figures in turns[0].items()
    }


def peak_memory(case: type[Case], name: str, options: Options) -> float:
    """Gigabytes of the device; on a CPU, of the whole process."""
    ready = case(name, options)
    for _ in range(case.peak_runs):
        ready.work()
    if ready.device.type == "cuda":
        return torch.cuda.max_memory_allocated(ready.device) / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def table(title: str, rows: Rows) -> str:
    """A Markdown table with the columns of all rows."""
    columns = list(dict.fromkeys(column for figures in rows.values() for column in figures))
    lines = [[title, *columns], ["---"] * (len(columns) + 1)]
    for row, figures in rows.items():
        lines.append([row, *(f"{figures[column]:.4g}" if column in figures else "" for column in columns)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine(options: Options) -> dict[str, Any]:
    """The machine and the versions that the figures depend on."""
    cpus = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", cpus.read_text() if cpus.exists() else "")
    return {
        "processor": model and model[1],
        "cores": own_cores(),
        "threads": options.threads or torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "code": code_version(),
    }
