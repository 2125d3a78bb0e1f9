"""What it costs to train in several processes (ranks) of one machine.

All ranks together have the threads of the single process.  Each number of ranks trains on the same batch per rank
(weak scaling), on a joint batch of that size (strong), and apart, which exchanges nothing and is the floor.

The seconds of a step are those of the slowest rank.  Efficiency compares images per second with one process that has
all threads.  Efficiency by processor time compares with one process that has one thread.  It says more where there are
more ranks than cores: other programs disturb it less, and waiting for a message is no work.
"""

import os
import socket
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import get_context
from typing import Any

import torch

from benchmarks.frame import Case, Rows, run_benchmark
from benchmarks.messages import Messages
from benchmarks.step import NAMES, SEVERAL, Step, StepOptions
from utils import distributed
from utils.errors import UsageError
from utils.options import COUNT, option
from utils.processes import own_cores, world_size


@dataclass(frozen=True)
class ProcessesOptions(StepOptions):
    cases: tuple[str, ...] = option(("baseline", "pinmem"), "which ones", flag="methods", nargs="+", choices=NAMES)
    arch: str = option("DeepR18V3PlusD", "the network, as in train.py")
    crop: int = option(128, "side of an image", type=COUNT)
    batch: int = option(4, "images per domain, of each rank or of all", type=SEVERAL)
    ranks: tuple[int, ...] = option((2, 4), "numbers of processes, compared with one", type=SEVERAL, nargs="+")
    threads: int = option(None, "shared by the ranks", factory=own_cores, type=COUNT, metavar="N")
    device: str = "cpu"
    processor_time: bool = False  # both times are measured

    def __post_init__(self) -> None:
        for ranks in self.ranks:
            if self.batch % ranks:
                raise UsageError(f"--ranks {ranks}: does not divide --batch {self.batch}; give a divisor")


class World:
    """Processes that train as one, or ``apart``."""

    def __init__(self, ranks: int, threads: int, *, apart: bool = False) -> None:
        self.ranks, self.threads = ranks, threads
        self.scalings = ["apart"] if apart else ["weak", "strong"] if ranks > 1 else ["alone"]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        world = {"WORLD_SIZE": 1 if apart else ranks, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        places = [{**world, "RANK": rank, "LOCAL_RANK": rank} for rank in range(ranks)]
        context = get_context("spawn")
        self.pools = [ProcessPoolExecutor(1, context, initializer=join, initargs=(place,)) for place in places]

    def call(self, function: Callable, *args: Any) -> list[Any]:
        """What the function returns in each process."""
        calls = [pool.submit(function, *args) for pool in self.pools]
        return [call.result() for call in calls]


def join(place: dict[str, Any]) -> None:
    """Make this process one of a world."""
    os.environ |= {name: str(value) for name, value in place.items()}
    distributed.start(torch.device("cpu"))


trained = cache(Step)  # a process keeps its method from step to step


def train_step(name: str, options: ProcessesOptions, scaling: str) -> dict[str, float]:
    """What one step takes in this process."""
    step = trained(name, options)
    whole, images = step.batch, options.batch // (world_size() if scaling == "strong" else 1)
    step.batch = whole._replace(images=whole.images[:, :images], labels=whole.labels[:, :images])
    with Messages() as messages:
        start, worked = time.perf_counter(), time.process_time()
        step.work()
        seconds, work = time.perf_counter() - start, time.process_time() - worked
    step.batch = whole
    sent = {"messages": messages.calls.total(), "bytes": messages.bytes.total(), "waited": messages.seconds}
    return {"seconds": seconds, "work": work, **sent}


class Processes(Case):
    """A method in worlds of several sizes."""

    title = "method, ranks, batch"

    def __init__(self, name: str, options: ProcessesOptions) -> None:
        super().__init__(name, options)
        self.options = options
        self.worlds = [World(1, 1), World(1, options.threads)]
        for ranks in options.ranks:
            threads = max(1, options.threads // ranks)
            self.worlds += [World(ranks, threads, apart=True), World(ranks, threads)]

    def turn(self) -> Rows:
        runs = [(world, scaling) for world in self.worlds for scaling in world.scalings]
        rows = [self.step(world, scaling) for world, scaling in runs]
        one_thread, one_process = rows[:2]
        for row in rows:
            row["efficiency"] = row["images/s"] / one_process["images/s"]
            row["by processor time"] = one_thread["processor s/image"] / row["processor s/image"]
        labels = [f"{self.name}, {world.ranks} x {world.threads} threads, {scaling}" for world, scaling in runs]
        return dict(zip(labels, rows, strict=True))

    def step(self, world: World, scaling: str) -> dict[str, float]:
        steps = world.call(train_step, self.name, replace(self.options, threads=world.threads), scaling)
        images = self.options.domains * self.options.batch * (1 if scaling == "strong" else world.ranks)
        seconds = max(step["seconds"] for step in steps)
        return {
            "s/step": seconds,
            "images/s": images / seconds,
            "processor s/image": sum(step["work"] for step in steps) / images,
            "messages": steps[0]["messages"],
            "MB": steps[0]["bytes"] / 1e6,
            "s in them": statistics.mean(step["waited"] for step in steps),
        }

    def close(self) -> None:
        for world in self.worlds:
            world.call(distributed.stop)
            for pool in world.pools:
                pool.shutdown()


if __name__ == "__main__":
    run_benchmark("processes", __doc__, ProcessesOptions, Processes)
