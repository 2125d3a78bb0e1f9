"""Training steps in bf16 compared with float32."""

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from test_ranks import KINDS

from datasets.sampling.loaders import Batch
from methods import Aggregate, choose_method
from network.categorical_memory import CategoricalMemory
from network.deeplab import build_network
from optimizer.sgd import build_optimizer

FIRST, LAST = 30, 40  # the compared steps


def batch_of(step: int) -> Batch:
    """Images whose colours show their labels, in blocks of 8 pixels."""
    random = torch.Generator().manual_seed(step)
    labels = torch.randint(0, 19, (2, 2, 8, 8), generator=random).repeat_interleave(8, 2).repeat_interleave(8, 3)
    colours = torch.randn(19, 3, generator=torch.Generator().manual_seed(0))[labels].movedim(-1, 2)
    images = colours + 0.5 * torch.randn(colours.shape, generator=random)
    return Batch(images, labels, torch.tensor([step % 2 == 0, step % 2 == 1]))


def loss_of_step(method: Aggregate, batch: Batch, *, half: bool) -> float:
    torch.manual_seed(0)  # noise and dropout
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half, cache_enabled=False):
        terms = method.step(batch)
    assert all(term.dtype == torch.float32 for term in terms.values())
    return sum(terms.values()).item()


@pytest.mark.slow
@pytest.mark.parametrize(("mldg", "memory"), KINDS)
def test_losses_in_half_precision(mldg: bool, memory: bool, threads: Callable[[int], None]) -> None:
    """Both from the weights of a float32 training.

    Two whole trainings would show little: weights that differ by 1e-6 soon have losses 3 % apart, in float32 too.
    """
    threads(1)
    torch.manual_seed(0)
    net = build_network("DeepR18V3PlusD", 19, memory=CategoricalMemory(19) if memory else None, output_stride=16)
    sgd = build_optimizer(net, lr=0.05, momentum=0.9, weight_decay=5e-4, schedule="exp", exponent=9, horizon=LAST)
    method = choose_method(mldg=mldg, memory=memory)(net.train(), *sgd)
    losses = [loss_of_step(method, batch_of(step), half=False) for step in range(FIRST)]
    for step in range(FIRST, LAST):
        before = [deepcopy(part.state_dict()) for part in (net, *sgd)]
        in_half = loss_of_step(method, batch_of(step), half=True)
        for part, state in zip((net, *sgd), before, strict=True):
            part.load_state_dict(state)
        losses.append(loss_of_step(method, batch_of(step), half=False))
        assert in_half == pytest.approx(losses[-1], rel=2e-3)
    assert losses[-1] < losses[0]
