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
from engine.run_log import code_version
from utils.files import write_json
from utils.options import COUNT, add_options, fill, option
from utils.processes import own_cores
from utils.program import run_program

Figures = dict[str, float]  # by column of the table


@dataclass(frozen=True)
class Options:
    """The options that benchmarks share.  A benchmark that redefines one without a flag does not offer it."""

    cases: tuple[str, ...] = ()  # what is measured, by name
    device: str = option("auto", "auto, cpu, cuda, cuda:1, mps")
    amp: str = option("off", "precision", choices=("off", "tf32", "bf16"))
    threads: int | None = option(None, "threads of torch; with 1, seconds are processor time", type=COUNT, metavar="N")
    repeats: int = option(7, "measured turns, after the warm-up", type=COUNT, metavar="N")
    json: Path | None = option(None, "write all turns, options and the machine there", type=Path, metavar="FILE")


class Case:
    """A case of a benchmark: some ``work``, and its ``floor``, the part of it that cannot be avoided.

    Each turn measures both; the table shows medians.  The median of a ratio varies less than the ratio of two medians,
    so a turn computes its own.  One thread is measured in processor time, which other programs hardly lengthen.
    """

    unit = "s"  # the column of the work

    def __init__(self, name: str, options: Options) -> None:
        torch.set_num_threads(options.threads or torch.get_num_threads())
        torch.manual_seed(0)
        self.name, self.device = name, choose_device(options.device)
        alone = self.device.type == "cpu" and torch.get_num_threads() == 1
        self.clock = time.process_time if alone else time.perf_counter

    def work(self) -> None:
        raise NotImplementedError

    def floor(self) -> None:
        raise NotImplementedError

    def turn(self) -> Figures:
        work, floor = self.seconds(self.work), self.seconds(self.floor)
        return {self.unit: work, "floor": floor, "ratio": work / floor}

    def seconds(self, function: Callable[[], object]) -> float:
        """The duration of a call, until the device has finished."""
        start = self.clock()
        function()
        if self.device.type != "cpu":
            torch.accelerator.synchronize()
        return self.clock() - start

    def peak_memory(self) -> float:
        """Gigabytes of the device until now; on a CPU, of the whole process."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 1e9
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def run_benchmark(name: str, description: str, options_class: type[Options], case: type[Case]) -> None:
    """The program ``python -m benchmarks.NAME``."""

    def main() -> None:
        parser = Parser(prog=f"python -m benchmarks.{name}", description=description)
        add_options(parser, options_class)
        options = fill(options_class, parser.parse_args())
        turns, rows = {}, {}
        for each in options.cases:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:  # it inherits no memory
                peak, turns[each] = fresh.submit(measure, case, each, options).result()
            columns = turns[each][0]
            rows[each] = {column: statistics.median(turn[column] for turn in turns[each]) for column in columns}
            rows[each]["peak GB"] = peak
        print(table(rows))
        if options.json:
            content = {"options": asdict(options), "machine": machine(options), "medians": rows, "turns": turns}
            write_json(options.json, content)

    run_program(f"benchmarks.{name}", main)


def measure(case: type[Case], name: str, options: Options) -> tuple[float, list[Figures]]:
    """The peak of the memory after ``work`` has run twice and nothing else has, and the figures of all turns."""
    ready = case(name, options)
    for _ in range(2):
        ready.work()
    peak = ready.peak_memory()
    ready.turn()
    return peak, [ready.turn() for _ in range(options.repeats)]


def table(rows: dict[str, Figures]) -> str:
    """A Markdown table."""
    columns = list(next(iter(rows.values())))
    lines = [["case", *columns], ["---"] * (len(columns) + 1)]
    lines += [[row, *(f"{number:.4g}" for number in figures.values())] for row, figures in rows.items()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine(options: Options) -> dict[str, Any]:
    """The machine and the versions that the figures depend on."""
    cpus, device = Path("/proc/cpuinfo"), choose_device(options.device)
    model = re.search(r"model name\s*: (.*)", cpus.read_text() if cpus.exists() else "")
    return {
        "processor": model and model[1],
        "cores": own_cores(),
        "threads": options.threads or torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "torch": torch.__version__,
        "code": code_version(),
    }
