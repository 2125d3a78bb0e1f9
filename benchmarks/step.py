"""What a training step costs, compared with the passes that no implementation can avoid.

A method and its floor alternate in one process.  The step is that of ``train.py``, from a batch as it is loaded.  The
floor is one forward and backward pass of the network per image, plus one forward pass of the encoder without gradient
per image and write of the memory.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.frame import Case, Options, run_benchmark
from datasets.sampling.loaders import Batch
from engine.build import network_from
from engine.machine import autocast, choose_algorithms, choose_precision, keep_memory
from engine.options.training_command import parse_training
from engine.training.batch_feed import BatchFeed
from engine.training.progress import Progress
from engine.training.trainer import Trainer
from methods import METHODS, BaselineOptions
from methods.baseline import Baseline
from methods.objective import Objective
from methods.whitening_term import Whitening
from network.deeplab import Encoder
from network.recomputing import recompute_in_backward
from optimizer.optimizers import build_optimizer
from optimizer.schedules import OptimizerOptions
from utils.options import COUNT, number, option

ISW = "ISW"  # RobustNet: the baseline with selective whitening
NAMES = (*METHODS, ISW)
SEVERAL = number(int, 2)  # batch norm needs two images, meta-learning two domains


@dataclass(frozen=True)
class StepOptions(Options):
    cases: tuple[str, ...] = option(NAMES, "which ones", flag="methods", nargs="+", choices=NAMES)
    arch: str = option("DeepR50V3PlusD", "the network, as in train.py")
    crop: int = option(256, "side of an image", type=COUNT)
    batch: int = option(2, "images per domain", type=SEVERAL)
    domains: int = option(2, "number of domains", type=SEVERAL)
    recompute: bool = option(False, "as in train.py", flag="checkpoint_activations")


class Step(Case):
    """A method on random images, and the passes that are its floor."""

    unit = "s/iteration"

    def __init__(self, name: str, options: StepOptions) -> None:
        super().__init__(name, options)
        choose_algorithms(deterministic=False)
        keep_memory(self.device)
        self.precision = choose_precision(options.amp, self.device)
        entry = METHODS["baseline" if name == ISW else name]
        norms = [0, 0, 2, 2, 2, 0, 0] if name == ISW else [0] * 7
        slots = {"slots": 19} if entry.memory else None
        net = network_from({"arch": options.arch, "num_classes": 19, "memory": slots, "wt_layer": norms})
        net = net.to(self.device).train()
        if options.recompute:
            recompute_in_backward(net.encoder.backbone.blocks)
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


def random_whitening(encoder: Encoder, device: torch.device) -> Whitening:
    """The term for a random half of all covariance entries."""
    sizes = [norm.num_features for norm in encoder.whitening]
    whitening = Whitening([True] * len(sizes), weight=0.6)
    whitening.select([torch.rand(size, size).triu(diagonal=1) > 0.5 for size in sizes], 0, device)
    return whitening


if __name__ == "__main__":
    run_benchmark("step", __doc__, StepOptions, Step)
