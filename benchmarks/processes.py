"""What it costs to train in several processes of one machine.

Each number of ranks takes the same batch per rank (weak scaling) and a joint batch of that size (strong), in turns with
one rank.  Their floor is as many processes at the same time that train apart, each on its own batch.  All ranks
together have the cores that one rank has alone; the row with one rank and one thread shows what threads cost.

The wall time of a step is that of the slowest rank, efficiency by it the images per second over those of one rank with
all cores.  Where there are more ranks than cores only processor seconds tell what the ranks themselves cost: other
programs lengthen those less, and waiting for a message is no work.
"""

import argparse
import json
import os
import socket
import statistics
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.measuring import Messages
from benchmarks.step import METHODS, Bench
from engine.options.flags import COUNT, PAIR, Formatter
from engine.program import run_program
from utils import distributed
from utils.errors import UsageError
from utils.processes import world_size

APART = "apart"
SCALINGS = ("weak", "strong")


class Row(NamedTuple):
    """One line of the table."""

    method: str
    ranks: int
    threads: int  # of each rank
    scaling: str  # or that they train apart


class Told(NamedTuple):
    """What a rank tells about one step."""

    seconds: float
    processor_seconds: float
    calls: int  # messages
    sent: int  # bytes of them
    waited: float  # seconds in them


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.processes", description=__doc__, formatter_class=Formatter
    )
    parser.add_argument("--arch", default="DeepR18V3PlusD", help="the network, as in train.py")
    parser.add_argument("--crop", type=COUNT, default=128, help="side of an image")
    parser.add_argument("--batch", type=PAIR, default=4, help="images per domain, of a rank or of all")
    parser.add_argument("--domains", type=PAIR, default=2, help="how many")
    parser.add_argument("--ranks", type=COUNT, nargs="+", default=[2, 4], help="compared with one")
    parser.add_argument("--cores", type=COUNT, default=os.cpu_count(), help="shared by the ranks")
    parser.add_argument("--repeats", type=COUNT, default=7, help="counted turns, after one that is not")
    parser.add_argument("--methods", nargs="+", default=["baseline", "PinMem"], choices=list(METHODS), help="which")
    parser.add_argument("--amp", default="off", choices=("off", "bf16"), help="precision")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    args = parser.parse_args()
    for ranks in args.ranks:
        if ranks < 2 or args.batch % ranks:
            raise UsageError(f"--ranks {ranks}: must be 2 or more and divide --batch {args.batch}")
    args.device, args.checkpoint_activations, args.plain = "cpu", False, False
    rows = {row: figures for method in args.methods for row, figures in measure(method, args).items()}
    print(table(rows))
    if args.json:
        shown = [row._asdict() | figures for row, figures in rows.items()]
        args.json.write_text(json.dumps({"flags": vars(args), "rows": shown}, indent=1, default=str) + "\n")


class World:
    """So many processes that train as one, or ``apart``, each of which waits for its next step in a pipe."""

    def __init__(self, method: str, ranks: int, threads: int, apart: bool, args: argparse.Namespace) -> None:
        self.ranks, self.threads = ranks, threads
        self.scalings = (APART,) if apart else SCALINGS[:ranks]  # to one rank both are one
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        context = get_context("spawn")
        pairs = [context.Pipe() for _ in range(ranks)]
        self.pipes = [ours for ours, _ in pairs]
        for rank, (_, theirs) in enumerate(pairs):
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 1 if apart else ranks, "MASTER_PORT": port}
            arguments = theirs, {name: str(value) for name, value in place.items()}, threads, method, args
            context.Process(target=serve, args=arguments, daemon=True).start()
            theirs.close()

    def step(self, scaling: str) -> list[Told]:
        for pipe in self.pipes:
            pipe.send(scaling)
        return [pipe.recv() for pipe in self.pipes]

    def end(self) -> None:
        for pipe in self.pipes:
            pipe.send(None)


def serve(pipe: Connection, place: dict[str, str], threads: int, method: str, args: argparse.Namespace) -> None:
    """Do the steps that ``pipe`` asks for, as one of the ranks."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", **place}
    torch.set_num_threads(threads)
    distributed.start(torch.device("cpu"))
    bench = Bench(method, args)
    whole = bench.batch
    own = slice(args.batch // world_size())
    part = whole._replace(images=whole.images[:, own], labels=whole.labels[:, own])
    batches = {"weak": whole, "strong": part, APART: whole}
    for scaling in iter(pipe.recv, None):
        bench.batch = batches[scaling]
        pipe.send(timed(bench))
    distributed.stop()


def timed(bench: Bench) -> Told:
    with Messages() as messages:
        start, worked = time.perf_counter(), time.process_time()
        bench.step()
        seconds, processor_seconds = time.perf_counter() - start, time.process_time() - worked
    return Told(seconds, processor_seconds, messages.calls.total(), messages.bytes.total(), messages.seconds)


def measure(method: str, args: argparse.Namespace) -> dict[Row, dict[str, float]]:
    """The medians of each row, its worlds in turns."""
    sizes = [(1, 1, False), (1, args.cores, False)]
    sizes += [(ranks, max(1, args.cores // ranks), apart) for ranks in args.ranks for apart in (True, False)]
    turns: dict[Row, list[list[Told]]] = {}
    worlds = [World(method, *size, args) for size in dict.fromkeys(sizes)]
    for turn in range(args.repeats + 1):
        for world in worlds:
            for scaling in world.scalings:
                told = world.step(scaling)
                if turn:
                    turns.setdefault(Row(method, world.ranks, world.threads, scaling), []).append(told)
    for world in worlds:
        world.end()
    medians = {row: figures(row, told, args) for row, told in turns.items()}
    return {row: found | efficiency(row, medians, args) for row, found in medians.items()}


def images_of_a_step(row: Row, args: argparse.Namespace) -> int:
    return args.domains * args.batch * (1 if row.scaling == "strong" else row.ranks)


def figures(row: Row, turns: list[list[Told]], args: argparse.Namespace) -> dict[str, float]:
    """Seconds of the slowest rank, processor seconds of all, messages of one."""
    worked = statistics.median(sum(told.processor_seconds for told in ranks) for ranks in turns)
    return {
        "seconds": statistics.median(max(told.seconds for told in ranks) for ranks in turns),
        "processor_seconds_per_image": worked / images_of_a_step(row, args),
        "messages": turns[0][0].calls,
        "megabytes": turns[0][0].sent / 1e6,
        "seconds_in_messages": statistics.median(statistics.mean(told.waited for told in ranks) for ranks in turns),
    }


def efficiency(row: Row, medians: dict[Row, dict[str, float]], args: argparse.Namespace) -> dict[str, float]:
    """By the clock against one rank with all cores; by processor seconds against one with one thread, and against
    processes that train apart."""
    whole, single = (Row(row.method, 1, threads, SCALINGS[0]) for threads in (args.cores, 1))
    apart = row._replace(scaling=APART) if row.ranks > 1 else row
    rates = [images_of_a_step(each, args) / medians[each]["seconds"] for each in (row, whole)]
    work = [medians[each]["processor_seconds_per_image"] for each in (row, single, apart)]
    return {
        "efficiency": rates[0] / rates[1],
        "processor_efficiency": work[1] / work[0],
        "processor_efficiency_of_apart": work[2] / work[0],
    }


COLUMNS = {
    "seconds": ("s/step", "{:.3f}"),
    "efficiency": ("efficiency", "{:.2f}"),
    "processor_seconds_per_image": ("processor s/image", "{:.3f}"),
    "processor_efficiency": ("efficiency by that", "{:.2f}"),
    "processor_efficiency_of_apart": ("against apart", "{:.2f}"),
    "messages": ("messages", "{}"),
    "megabytes": ("MB", "{:.1f}"),
    "seconds_in_messages": ("s in them", "{:.3f}"),
}


def table(rows: dict[Row, dict[str, float]]) -> str:
    """Markdown."""
    names = ["method", "ranks", "threads", "scaling", *(name for name, _ in COLUMNS.values())]
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for row, found in rows.items():
        cells = [*map(str, row), *(form.format(found[key]) for key, (_, form) in COLUMNS.items())]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_program("benchmarks.processes", main)
