"""What the labelling of an image costs, against the network alone.

The floor is measured by the same script and process, in turns: the network on the same windows or views, in the
same groups, its answers thrown away.  The rest is cutting, adding up, resizing, mirroring, the choice of classes and
the count of the confusion matrix.  On a CPU seconds are those of the processor: give OMP_NUM_THREADS=1.
"""

import argparse
import json
import statistics
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from benchmarks.measuring import in_own_process, peak_gigabytes, processor_seconds_of
from datasets.transforms import to_tensor
from engine import machine
from engine.build import choose_device, network_from
from engine.evaluating.prediction import Inference, Predictor
from engine.options.flags import COUNT, Formatter
from engine.program import run_program
from utils.metrics import ConfusionMatrix

WAYS = {  # name -> mode and scales
    "whole": ("whole", (1.0,)),
    "sliding": ("sliding", (1.0,)),
    "sliding, 3 scales": ("sliding", (0.5, 0.75, 1.0)),
    "pooling": ("pooling", (1.0,)),
    "pooling, 2 scales": ("pooling", (0.5, 1.0)),
    "pooling, 3 scales": ("pooling", (0.5, 0.75, 1.0)),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.inference", description=__doc__, formatter_class=Formatter
    )
    told = "which: " + ", ".join(f"'{way}'" for way in WAYS)
    parser.add_argument("--arch", default="DeepR50V3PlusD", help="the network, as in train.py")
    parser.add_argument("--memory", action="store_true", help="a network with a memory, read without noise")
    parser.add_argument(
        "--size", type=COUNT, nargs=2, default=(2048, 1024), metavar=("WIDTH", "HEIGHT"), help="of the picture"
    )
    parser.add_argument("--crop", type=COUNT, default=768, help="side of a window")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS), metavar="WAY", help=told)
    parser.add_argument("--no_flip", action="store_true", help="without mirror images")
    parser.add_argument("--repeats", type=COUNT, default=3, help="counted turns, after one that is not")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--amp", default="off", choices=("off", "bf16"), help="precision")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    args = parser.parse_args()
    rows = {way: in_own_process(measure, way, args) for way in args.ways}
    for way, row in rows.items():
        row["peak_gb"] = in_own_process(peak_memory, way, args)
    print(table(rows))
    if args.json:
        args.json.write_text(json.dumps({"flags": vars(args), "ways": rows}, indent=1, default=str) + "\n")


class Bench:
    """A network that labels a random image in one way."""

    def __init__(self, way: str, args: Namespace):
        torch.manual_seed(0)
        self.device = choose_device(args.device)
        machine.keep_memory(self.device)
        mode, scales = WAYS[way]
        config = {"arch": args.arch, "num_classes": 19, "memory": {"slots": 19} if args.memory else None}
        net = network_from(config).to(self.device)
        # Logits as large as trained ones.  Of random weights they differ by hundreds, which gives probabilities so near
        # zero that processors are slow with them.
        net.classifier.weight.data *= 0.1
        inference = Inference(mode, scales, flip=mode != "whole" and not args.no_flip, crop_size=args.crop)
        settings = Namespace(gumbel_eval=0, image_in=False, amp=args.amp)
        self.predict = Predictor(net, settings, device=self.device, inference=inference)
        image = Image.effect_noise(tuple(args.size), 60).convert("RGB")
        self.image, self.views = to_tensor(image), inference.pyramid(image)
        self.labels = torch.randint(0, 19, self.image.shape[-2:], dtype=torch.uint8)
        self.matrix = ConfusionMatrix(19, self.device)
        self.seen: list[Tensor] = []  # what ``record`` found that the network is shown

    def picture(self) -> None:
        prediction = self.predict(self.image, self.views, index=0)
        self.matrix.update(self.labels.to(self.device, non_blocking=True), prediction)

    def record(self) -> None:
        logits = self.predict.logits
        self.predict.logits = lambda images: self.seen.append(images) or logits(images)
        self.picture()
        del self.predict.logits

    @torch.no_grad()
    def floor(self) -> None:
        for images in self.seen:
            self.predict.logits(images)


def measure(way: str, args: Namespace) -> dict[str, Any]:
    bench = Bench(way, args)
    bench.record()
    bench.floor()
    seconds, floors = [], []
    for _ in range(args.repeats):
        seconds.append(processor_seconds_of(bench.picture, bench.device))
        floors.append(processor_seconds_of(bench.floor, bench.device))
    ratios = [whole / floor for whole, floor in zip(seconds, floors, strict=True)]
    return {
        "passes": len(bench.seen),
        "images": sum(map(len, bench.seen)),
        "seconds": statistics.median(seconds),
        "floor_seconds": statistics.median(floors),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
    }


def peak_memory(way: str, args: Namespace) -> float:
    """Gigabytes after labelling two pictures: of the device, or of the whole process on the CPU."""
    bench = Bench(way, args)
    for _ in range(2):
        bench.picture()
    return peak_gigabytes(bench.device)


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Markdown: passes of the network and images in them, seconds, floor, ratio, peak memory."""
    lines = ["| way | passes | images | s/picture | network | ratio | peak GB |", "|---|---|---|---|---|---|---|"]
    for way, row in rows.items():
        cells = way, row["passes"], row["images"], f"{row['seconds']:.2f}", f"{row['floor_seconds']:.2f}"
        lines.append("| " + " | ".join(map(str, (*cells, f"{row['ratio']:.3f}", f"{row['peak_gb']:.2f}"))) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_program("benchmarks.inference", main)
