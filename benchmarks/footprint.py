"""What the memory costs at training size, forward and backward.

The parts are read, write and losses for 8 feature maps of 256 x 48 x 48 with labels of 768 x 768, as in one step.  They
alternate with the same work on labels or scores that are first resized as a whole.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, autograd

from benchmarks.frame import Case, Options, Rows, run_benchmark
from engine.machine import keep_memory
from loss.memory_losses import classification_loss, cohesion_loss, divergence_loss
from network.categorical_memory import CategoricalMemory
from network.deeplab import resize
from utils.options import IGNORE, option


@dataclass(frozen=True)
class FootprintOptions(Options):
    cases: tuple[str, ...] = ("memory",)
    amp: str = "off"
    plain: bool = option(False, "return memory to the system at once, unlike training")


class Footprint(Case):
    """The work of a step on the memory, on random data."""

    title = "part"

    def __init__(self, name: str, options: FootprintOptions) -> None:
        super().__init__(name, options)
        if not options.plain:
            keep_memory(self.device)
        self.memory = CategoricalMemory(19).to(self.device, memory_format=torch.channels_last)  # as in the network
        self.labels = torch.randint(0, 19, (8, 768, 768), device=self.device)
        self.labels[torch.rand(self.labels.shape, device=self.device) < 0.1] = IGNORE
        self.features, self.scores = (self.random_maps(width).requires_grad_() for width in (256, 19))
        self.decoder_gradient = self.random_maps(256).contiguous()

    def random_maps(self, width: int) -> Tensor:
        return torch.randn(8, width, 48, 48, device=self.device).contiguous(memory_format=torch.channels_last)

    def turn(self) -> Rows:
        parts = {
            "read": self.read,
            "write and its losses": self.write,
            "write, labels one-hot as a whole": self.write_as_a_whole,
            "cohesion": lambda: [cohesion_loss(self.scores, self.labels)],
            "cohesion, scores resized as a whole": self.cohesion_as_a_whole,
            "all, as in a step": self.all,
        }
        return {name: {"milliseconds": 1000 * self.seconds(self.both_ways, part)} for name, part in parts.items()}

    def both_ways(self, part: Callable[[], list[Tensor]]) -> None:
        outputs = part()
        autograd.backward(outputs, [self.decoder_gradient if x.dim() else None for x in outputs])

    def read(self) -> list[Tensor]:
        return [self.memory.read(self.features, self.memory.items, gumbel=True).features]

    def write(self) -> list[Tensor]:
        return self.losses_of(self.memory.write(self.features, self.labels, self.memory.items))

    def losses_of(self, items: Tensor) -> list[Tensor]:
        return [0.4 * divergence_loss(items), 0.2 * classification_loss(self.memory.classifier(items))]

    def write_as_a_whole(self) -> list[Tensor]:
        memory = self.memory
        keys = F.normalize(F.relu(self.features + memory.update(self.features)), dim=1)
        one_hot = F.one_hot(self.labels.clamp_max(19), 20).permute(0, 3, 1, 2).float()
        masks = resize(one_hot, keys.shape[-2:])[:, :19]
        sums, mass = torch.einsum("nchw,nkhw->kc", keys, masks), masks.sum(dim=(0, 2, 3))[:, None]
        means = sums / mass.clamp_min(1e-12)
        return self.losses_of(F.normalize(memory.momentum * memory.items + (1 - memory.momentum) * means, dim=1))

    def cohesion_as_a_whole(self) -> list[Tensor]:
        return [F.cross_entropy(resize(self.scores, self.labels.shape[-2:]), self.labels, ignore_index=IGNORE)]

    def all(self) -> list[Tensor]:
        reading = self.memory.read(self.features, self.memory.items, gumbel=True)
        return [reading.features, 0.02 * cohesion_loss(reading.scores, self.labels), *self.write()]


if __name__ == "__main__":
    run_benchmark("footprint", __doc__, FootprintOptions, Footprint)
