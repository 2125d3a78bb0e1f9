"""What the memory costs at training size, forward and backward.

Read, write and the losses of 8 feature maps of 256 x 48 x 48 with labels of 768 x 768, as in one step.  The parts are
measured in turns with what they would cost if labels or scores were brought to the other's size as a whole.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.measuring import seconds_of
from datasets.labels import IGNORE
from engine.build import choose_device
from engine.machine import keep_memory
from engine.options.flags import COUNT, Formatter
from engine.program import run_program
from loss.memory_losses import classification_loss, cohesion_loss, divergence_loss
from network.categorical_memory import CategoricalMemory
from network.deeplab import resize


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.footprint", description=__doc__, formatter_class=Formatter
    )
    parser.add_argument("--images", type=COUNT, default=8, help="in a batch")
    parser.add_argument("--cells", type=COUNT, default=48, help="side of a feature map")
    parser.add_argument("--crop", type=COUNT, default=768, help="side of a label")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--repeats", type=COUNT, default=5, help="counted turns, after one that is not")
    parser.add_argument("--plain", action="store_true", help="give memory back at once, as training here does not")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    args = parser.parse_args()
    device = choose_device(args.device)
    if not args.plain:
        keep_memory(device)
    parts = Parts(args, device)
    turns = [{name: parts.timed(part) for name, part in parts.parts.items()} for _ in range(args.repeats + 1)][1:]
    seconds = {name: statistics.median(turn[name] for turn in turns) for name in parts.parts}
    print("| part | milliseconds |\n|---|---|")
    print("\n".join(f"| {name} | {1000 * value:.0f} |" for name, value in seconds.items()))
    if args.json:
        args.json.write_text(json.dumps({"flags": vars(args), "seconds": seconds, "turns": turns}, default=str) + "\n")


class Parts:
    """The parts of a step's work on the memory, on random data, each with its backward."""

    def __init__(self, args: argparse.Namespace, device: torch.device) -> None:
        torch.manual_seed(0)
        self.device = device
        last = {"memory_format": torch.channels_last}  # as the network has it
        self.memory = CategoricalMemory(19).to(device, **last)
        features = torch.randn(args.images, 256, args.cells, args.cells, device=device)
        self.features = features.contiguous(**last).requires_grad_()
        self.labels = torch.randint(0, 19, (args.images, args.crop, args.crop), device=device)
        self.labels[torch.rand(self.labels.shape, device=device) < 0.1] = IGNORE
        scores = torch.randn(args.images, 19, args.cells, args.cells, device=device)
        self.scores = scores.contiguous(**last).requires_grad_()
        self.upstream = torch.randn_like(features)  # the gradient that the decoder gives the read features
        self.parts: dict[str, Callable[[], Tensor | tuple[Tensor, ...]]] = {
            "read": self.read,
            "write and its losses": self.write,
            "write, labels one-hot as a whole": self.write_as_a_whole,
            "cohesion": lambda: cohesion_loss(self.scores, self.labels),
            "cohesion, scores resized as a whole": self.cohesion_as_a_whole,
            "all, as in a step": self.all,
        }

    def read(self) -> Tensor:
        return self.memory.read(self.features, self.memory.items, gumbel=True).features

    def losses_of(self, items: Tensor) -> Tensor:
        return 0.4 * divergence_loss(items) + 0.2 * classification_loss(self.memory.classifier(items))

    def write(self) -> Tensor:
        return self.losses_of(self.memory.write(self.features, self.labels, self.memory.items))

    def write_as_a_whole(self) -> Tensor:
        memory = self.memory
        keys = F.normalize(F.relu(self.features + memory.update(self.features)), dim=1)
        one_hot = F.one_hot(self.labels.clamp_max(19), 20).permute(0, 3, 1, 2).float()
        masks = resize(one_hot, keys.shape[-2:])[:, :19]
        sums, mass = torch.einsum("nchw,nkhw->kc", keys, masks), masks.sum(dim=(0, 2, 3))[:, None]
        means = sums / mass.clamp_min(1e-12)
        return self.losses_of(F.normalize(memory.momentum * memory.items + (1 - memory.momentum) * means, dim=1))

    def cohesion_as_a_whole(self) -> Tensor:
        return F.cross_entropy(resize(self.scores, self.labels.shape[-2:]), self.labels, ignore_index=IGNORE)

    def all(self) -> tuple[Tensor, Tensor]:
        reading = self.memory.read(self.features, self.memory.items, gumbel=True)
        return reading.features, 0.02 * cohesion_loss(reading.scores, self.labels) + self.write()

    def timed(self, part: Callable[[], Tensor | tuple[Tensor, ...]]) -> float:
        def both_ways() -> None:
            found = part()
            found = found if isinstance(found, tuple) else (found,)
            torch.autograd.backward(found, [self.upstream if x.dim() else None for x in found])

        return seconds_of(both_ways, self.device)


if __name__ == "__main__":
    run_program("benchmarks.footprint", main)
