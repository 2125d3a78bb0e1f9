"""Training steps in bf16 compared with float32, on demo data."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path

import pytest
import torch

from datasets.labels import STANDARD
from datasets.sampling.loaders import Batch
from engine import build
from engine.machine import autocast
from engine.options.training_command import parse_training
from methods.method import Method
from support.methods import NAMES

FIRST, LAST = 40, 50  # the compared iterations
CPU = torch.device("cpu")


def training(data: Path, name: str) -> tuple[Method, list[Batch]]:
    """A method as the flags of the quickstart make it, but for a smaller crop, and its batches."""
    flags = f"--dataset gtav synthia --data_root {data} --crop_size 64 --bs_mult 2 --color_aug 0.5 --num_workers 0"
    network = "--arch DeepR18V3PlusD --pretrained_backbone none --output_stride 16 --lr 0.05"
    method = ["--method", name, "--inner_lr_anneal", "--max_iter", str(LAST)]
    options = parse_training([*flags.split(), *network.split(), *method])
    torch.manual_seed(0)
    config = build.network_config(options.network, STANDARD, memory=options.entry.memory)
    loaded = build.training_batches(options, build.training_domains(options), CPU, 0)
    return build.build_method(options, build.network_from(config).train()), [batch.ready(CPU) for batch in loaded]


def loss_of_step(method: Method, batch: Batch, precision: str) -> float:
    torch.manual_seed(0)  # noise and drop-out
    with autocast(precision, CPU):
        terms = method.step(batch)
    assert all(term.dtype == torch.float32 for term in terms.values())
    return sum(terms.values()).item()


def compared(method: Method, batches: list[Batch]) -> Iterator[tuple[float, float]]:
    """The losses of the last steps in bf16 and in float32, each from the weights of a float32 training."""
    stateful = method.net, method.optimizer, method.scheduler
    for iteration, batch in enumerate(batches, start=1):
        if iteration >= FIRST:
            before = [deepcopy(each.state_dict()) for each in stateful]
            half = loss_of_step(method, batch, "bf16")
            for each, state in zip(stateful, before, strict=True):
                each.load_state_dict(state)
            yield half, loss_of_step(method, batch, "off")
        else:
            loss_of_step(method, batch, "off")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_losses_in_half_precision(name: str, data: Path, threads: Callable[[int], None]) -> None:
    """Two trainings would tell little: in float32 too, weights that differ by 1e-6 soon have losses 3 % apart."""
    threads(1)
    losses = list(compared(*training(data, name)))
    assert len(losses) == LAST - FIRST + 1
    for half, single in losses:
        assert half == pytest.approx(single, rel=2e-3)
