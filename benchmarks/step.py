"""What a training step costs, against the passes that it cannot do without.

The floor of a method is measured by the same script in the same process, in turns with the method: one forward and
backward of the network per image, plus one encoder forward without gradient per image and write of the memory.
"""

import argparse
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import autograd

from benchmarks.measuring import in_own_process, peak_gigabytes, seconds_of, wait_for
from datasets.sampling.loaders import Batch
from engine import machine
from engine.build import autocast, choose_device, choose_precision, network_from
from engine.options.flags import COUNT, PAIR, Formatter
from engine.program import run_program
from methods import Aggregate, choose_method
from methods.whitening_term import Whitening
from network.batch_norms import join_batch_norms
from network.deeplab import Encoder
from optimizer.sgd import build_optimizer
from utils.processes import world_size

METHODS = {  # mldg, memory, whitened as RobustNet's ISW
    "baseline": (False, False, False),
    "MLDG": (True, False, False),
    "memory": (False, True, False),
    "PinMem": (True, True, False),
    "ISW": (False, False, True),
}
PHASES = {  # methods of a method -> what the table calls them; the rest is "other"
    "observe": "forward",
    "gradients": "backward",
    "write_ahead": "write ahead",
    "look_ahead": "look-ahead forward",
    "apply": "optimiser",
    "after_update": "store",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description=__doc__, formatter_class=Formatter)
    parser.add_argument("--arch", default="DeepR50V3PlusD", help="the network, as in train.py")
    parser.add_argument("--crop", type=COUNT, default=256, help="side of an image")
    parser.add_argument("--batch", type=PAIR, default=2, help="images per domain")
    parser.add_argument("--domains", type=PAIR, default=2, help="how many")
    parser.add_argument("--repeats", type=COUNT, default=7, help="counted steps, after two that are not")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS), help="which")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--amp", default="off", choices=("off", "bf16"), help="precision")
    parser.add_argument("--plain", action="store_true", help="weights in torch's own layout, not channels-last")
    parser.add_argument("--checkpoint_activations", action="store_true", help="of the backbone, as train.py does")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    args = parser.parse_args()
    rows = {name: in_own_process(measure, name, args) for name in args.methods}
    for name, row in rows.items():
        row["peak_gb"] = in_own_process(peak_memory, name, args)
    print(table(rows))
    if args.json:
        args.json.write_text(json.dumps({"flags": vars(args), "methods": rows}, indent=1, default=str) + "\n")


class Bench:
    """A method on random data, and the passes that are its floor."""

    def __init__(self, name: str, args: argparse.Namespace):
        torch.manual_seed(0)
        self.device = choose_device(args.device)
        self.amp = choose_precision(args.amp, self.device)
        machine.keep_memory(self.device)
        mldg, memory, whitened = METHODS[name]
        slots = {"slots": 19} if memory else None
        config = {"arch": args.arch, "num_classes": 19, "memory": slots, "wt_layer": [0, 0, *[2 * whitened] * 3, 0, 0]}
        net = network_from(config).to(self.device).train()
        if args.plain:
            net = net.to(memory_format=torch.contiguous_format)
        if world_size() > 1:
            net = join_batch_norms(net, self.device)
        net.encoder.backbone.recompute = args.checkpoint_activations
        sgd, schedule = build_optimizer(
            net, lr=0.01, momentum=0.9, weight_decay=5e-4, schedule="exp", exponent=9, horizon=120_000
        )
        whitening = self.whitening(net.encoder) if whitened else None
        self.method: Aggregate = choose_method(mldg=mldg, memory=memory)(net, sgd, schedule, whitening=whitening)
        self.baseline = Aggregate(net, sgd, schedule)  # whose losses are the floor's, whatever the method adds
        shape = args.domains, args.batch, args.crop, args.crop
        images = torch.randn(shape[0], shape[1], 3, *shape[2:], device=self.device)
        labels = torch.randint(0, 19, shape, device=self.device)
        roles = torch.tensor([mldg and domain > 0 for domain in range(args.domains)])
        self.batch = Batch(images, labels, roles)
        written = self.batch.pool(~roles)
        self.writes = [written] * (memory + (memory and mldg))
        self.passes = [self.batch.pool(roles), written] if mldg else [written]

    def whitening(self, encoder: Encoder) -> Whitening:
        """Of a random half of all entries."""
        sizes = [norm.num_features for norm in encoder.whitening]
        whitening = Whitening([True] * len(sizes), weight=0.6)
        whitening.select([torch.rand(size, size).triu(diagonal=1) > 0.5 for size in sizes], 0, self.device)
        return whitening

    def step(self) -> None:
        with autocast(self.amp, self.device):
            self.method.step(self.batch)

    def floor(self) -> None:
        with autocast(self.amp, self.device):
            for part in self.passes:
                terms = self.baseline.observe(part)
                autograd.grad(sum(terms.values()), list(self.baseline.params.values()), allow_unused=True)
            with torch.no_grad():
                for part in self.writes:
                    self.baseline.net.encoder(part.images)

    def split(self) -> dict[str, float]:
        """Seconds of one step by phase."""
        seconds: dict[str, float] = defaultdict(float)

        def clock(phase: str, function: Callable) -> Callable:
            def call(*args: Any, **kwargs: Any) -> Any:
                start = time.perf_counter()
                result = function(*args, **kwargs)
                wait_for(self.device)
                seconds[phase] += time.perf_counter() - start
                return result

            return call

        present = {name: phase for name, phase in PHASES.items() if hasattr(self.method, name)}
        for name, phase in present.items():
            setattr(self.method, name, clock(phase, getattr(self.method, name)))
        total = seconds_of(self.step, self.device)
        for name in present:
            delattr(self.method, name)
        return dict(seconds) | {"other": total - sum(seconds.values())}


def measure(name: str, args: argparse.Namespace) -> dict[str, Any]:
    bench = Bench(name, args)
    for _ in range(2):
        bench.step()
        bench.floor()
    steps, floors, splits = [], [], []
    for _ in range(args.repeats):
        steps.append(seconds_of(bench.step, bench.device))
        floors.append(seconds_of(bench.floor, bench.device))
        splits.append(bench.split())
    ratios = [step / floor for step, floor in zip(steps, floors, strict=True)]
    phases = {phase: statistics.median(split[phase] for split in splits) for phase in splits[0]}
    return {
        "seconds": statistics.median(steps),
        "floor_seconds": statistics.median(floors),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "phases": phases,
    }


def peak_memory(name: str, args: argparse.Namespace) -> float:
    """Gigabytes after three steps: of the device, or of the whole process on the CPU."""
    bench = Bench(name, args)
    for _ in range(3):
        bench.step()
    return peak_gigabytes(bench.device)


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Markdown: seconds, floor, ratio, peak memory, and the phases of each method."""
    phases = list(dict.fromkeys(phase for row in rows.values() for phase in row["phases"]))
    lines = ["| method | s/iteration | floor | ratio | peak GB | " + " | ".join(phases) + " |"]
    lines.append("|---" * (5 + len(phases)) + "|")
    for name, row in rows.items():
        cells = [f"{row['seconds']:.3f}", f"{row['floor_seconds']:.3f}", f"{row['ratio']:.3f}", f"{row['peak_gb']:.2f}"]
        cells += [f"{row['phases'][phase]:.3f}" if phase in row["phases"] else "" for phase in phases]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_program("benchmarks.step", main)
