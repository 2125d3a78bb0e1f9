"""What a training step costs, compared with the passes that no implementation can avoid.

A method and its floor alternate in one process.  The step is that of ``train.py``, from a batch as it is loaded.  The
floor is one forward and backward pass of the network per image, plus one forward pass of the encoder without gradient
per image and write of the memory.
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

from datasets.sampling.loaders import Batch
from engine.build import network_from
from engine.machine import autocast, choose_algorithms, choose_device, choose_precision, keep_memory
from engine.options.parser import Parser
from engine.options.training_command import parse_training
from engine.run_log import code_version
from engine.training.batch_feed import BatchFeed
from engine.training.progress import Progress
from engine.training.trainer import Trainer
from methods import METHODS, BaselineOptions
from methods.baseline import Baseline
from methods.objective import Objective
from methods.whitening_term import Whitening
from network.deeplab import Encoder
from optimizer.optimizers import build_optimizer
from optimizer.schedules import OptimizerOptions
from utils.files import write_json
from utils.options import COUNT, add_options, fill, number, option
from utils.processes import own_cores
from utils.program import run_program

ISW = "ISW"  # RobustNet: the baseline with selective whitening
NAMES = (*METHODS, ISW)
SEVERAL = number(int, 2)  # batch norm needs two images, meta-learning two domains
Figures = dict[str, float]  # by column of the table


@dataclass(frozen=True)
class Options:
    """What is measured, and how often."""

    methods: tuple[str, ...] = option(NAMES, "which ones", nargs="+", choices=NAMES)
    arch: str = option("DeepR50V3PlusD", "the network, as in train.py")
    crop: int = option(256, "side of an image", type=COUNT)
    batch: int = option(2, "images per domain", type=SEVERAL)
    domains: int = option(2, "number of domains", type=SEVERAL)
    recompute: bool = option(False, "as in train.py", flag="checkpoint_activations")
    device: str = option("auto", "auto, cpu, cuda, cuda:1, mps")
    amp: str = option("off", "precision", choices=("off", "tf32", "bf16"))
    threads: int | None = option(None, "threads of torch; with 1, seconds are processor time", type=COUNT, metavar="N")
    repeats: int = option(7, "measured turns, after the warm-up", type=COUNT, metavar="N")
    json: Path | None = option(None, "write all turns, options and the machine there", type=Path, metavar="FILE")


class Step:
    """A method on random images, and the passes that are its floor.

    One thread is measured in processor time, which other programs hardly lengthen.
    """

    def __init__(self, name: str, options: Options) -> None:
        torch.set_num_threads(options.threads or torch.get_num_threads())
        torch.manual_seed(0)
        self.device = choose_device(options.device)
        alone = self.device.type == "cpu" and torch.get_num_threads() == 1
        self.clock = time.process_time if alone else time.perf_counter
        choose_algorithms(deterministic=False)
        keep_memory(self.device)
        self.precision = choose_precision(options.amp, self.device)
        entry = METHODS["baseline" if name == ISW else name]
        norms = [0, 0, 2, 2, 2, 0, 0] if name == ISW else [0] * 7
        slots = {"slots": 19} if entry.memory else None
        net = network_from({"arch": options.arch, "num_classes": 19, "memory": slots, "wt_layer": norms})
        net = net.to(self.device).train()
        net.encoder.backbone.recompute = options.recompute
        optimizer = build_optimizer(net, OptimizerOptions(exponent=9, horizon=120_000))
        objective = Objective(whitening=random_whitening(net.encoder, self.device) if name == ISW else None)
        method = entry.load()(net, *optimizer, options=entry.options(), objective=objective)
        parts = {"device": self.device, "precision": self.precision, "progress": Progress()}
        self.trainer = Trainer(parse_training([]), method, {}, None, Path(), **parts, selection=None, validation={})
        self.trainer.feed = BatchFeed([], {}, 0)
        self.baseline = Baseline(net, *optimizer, options=BaselineOptions())  # its losses are those of the floor
        shape = options.domains, options.batch, options.crop, options.crop
        images = torch.randint(0, 256, (*shape[:2], 3, *shape[2:]), dtype=torch.uint8)
        labels = torch.randint(0, 19, shape, dtype=torch.uint8)
        if self.device.type == "cuda":
            images, labels = images.pin_memory(), labels.pin_memory()
        self.loaded = Batch(images, labels, torch.tensor([entry.mldg and n > 0 for n in range(options.domains)]))
        batch = self.trainer.ready(self.loaded)
        train = batch.pool(~batch.meta_test)
        self.passes = [batch.pool(batch.meta_test), train] if entry.mldg else [train]
        self.writes = [train] * (entry.memory + (entry.memory and entry.mldg))

    def work(self) -> None:
        self.trainer.step(self.trainer.ready(self.loaded))
        self.trainer.pending.clear()

    def floor(self) -> None:
        with autocast(self.precision, self.device):
            for part in self.passes:
                self.baseline.own_gradients(self.baseline.losses(part))
            with torch.no_grad():
                for part in self.writes:
                    self.baseline.net.encoder(part.images)

    def turn(self) -> Figures:
        """The seconds of both.  The median of their ratio varies less than the ratio of two medians."""
        work, floor = self.seconds(self.work), self.seconds(self.floor)
        return {"s/iteration": work, "floor": floor, "ratio": work / floor}

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


def random_whitening(encoder: Encoder, device: torch.device) -> Whitening:
    """The term for a random half of all covariance entries."""
    sizes = [norm.num_features for norm in encoder.whitening]
    whitening = Whitening([True] * len(sizes), weight=0.6)
    whitening.select([torch.rand(size, size).triu(diagonal=1) > 0.5 for size in sizes], 0, device)
    return whitening


def main() -> None:
    parser = Parser(prog="python -m benchmarks.step", description=__doc__)
    add_options(parser, Options)
    options = fill(Options, parser.parse_args())
    turns, rows = {}, {}
    for name in options.methods:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:  # it inherits no memory
            peak, turns[name] = fresh.submit(measure, name, options).result()
        columns = turns[name][0]
        rows[name] = {column: statistics.median(turn[column] for turn in turns[name]) for column in columns}
        rows[name]["peak GB"] = peak
    print(table(rows))
    if options.json:
        content = {"options": asdict(options), "machine": machine(options), "medians": rows, "turns": turns}
        write_json(options.json, content)


def measure(name: str, options: Options) -> tuple[float, list[Figures]]:
    """The peak of the memory after ``work`` has run twice and nothing else has, and the figures of all turns."""
    ready = Step(name, options)
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


if __name__ == "__main__":
    run_program("benchmarks.step", main)
