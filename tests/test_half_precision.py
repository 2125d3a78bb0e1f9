"""Training steps in bf16 compared with float32, on demo data."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from test_ranks import KINDS

from datasets.sampling.loaders import Batch
from engine import build
from engine.data_report import classes_of
from engine.options.train_flags import parse_training
from methods import Aggregate

FIRST, LAST = 40, 50  # the compared iterations
CPU = torch.device("cpu")


def training(data: Path, mldg: bool, memory: bool) -> tuple[Aggregate, list[Batch]]:
    """The quickstart's method with a smaller crop, and its batches."""
    flags = f"--dataset gtav synthia --data_root {data} --crop_size 64 --bs_mult 2 --color_aug 0.5 --num_workers 0"
    network = "--arch DeepR18V3PlusD --pretrained_backbone none --output_stride 16 --lr 0.05"
    methods = ["--mldg", "--inner_lr_anneal"] * mldg + ["--memory"] * memory
    args = parse_training([*flags.split(), *network.split(), *methods, "--max_iter", str(LAST)])
    torch.manual_seed(0)
    net = build.network_from(build.network_config(args, classes_of(args))).train()
    loaded = build.training_batches(args, build.training_domains(args), CPU, 0)
    return build.method_from(args, net), [batch.ready(CPU, image_in=False) for batch in loaded]


def loss_of_step(method: Aggregate, batch: Batch, precision: str) -> float:
    torch.manual_seed(0)  # noise and dropout
    with build.autocast(precision, CPU):
        terms = method.step(batch)
    assert all(term.dtype == torch.float32 for term in terms.values())
    return sum(terms.values()).item()


def compared(method: Aggregate, batches: list[Batch]) -> Iterator[tuple[float, float]]:
    """The losses of the last steps in bf16 and in float32, both from the weights of a float32 training."""
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
@pytest.mark.parametrize(("mldg", "memory"), KINDS)
def test_losses_in_half_precision(mldg: bool, memory: bool, data: Path, threads: Callable[[int], None]) -> None:
    """Two whole trainings would show little: weights that differ by 1e-6 soon have losses 3 % apart, in float32 too."""
    threads(1)
    losses = list(compared(*training(data, mldg, memory)))
    assert len(losses) == LAST - FIRST + 1
    for half, single in losses:
        assert half == pytest.approx(single, rel=2e-3)
