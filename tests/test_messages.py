"""The number of messages between processes in one step."""

from collections import Counter
from typing import NamedTuple

import pytest
import torch
from test_ranks import IMAGES, FourStages, joint_batch, part

from network.batch_norms import JointBatchNorm2d
from support.messages import Messages
from support.methods import NAMES
from support.ranks import run_ranks, small_method
from utils.processes import rank

GRADIENTS = "methods.method.accumulate"
LOSSES, WRITES = "loss.segmentation.per_valid_pixel", "network.categorical_memory.write"
NORMS = "network.batch_norms"
BACKWARD = "methods.method.own_gradients"  # of a write
OTHERS = {  # the messages of one step, besides those of batch norms
    "baseline": {GRADIENTS: 1, LOSSES: 2},  # the auxiliary loss has pixels of its own
    "mldg": {GRADIENTS: 2, LOSSES: 4},
    "memory": {GRADIENTS: 1, LOSSES: 3, WRITES: 2, BACKWARD: 1},
    "pinmem": {GRADIENTS: 2, LOSSES: 6, WRITES: 3, BACKWARD: 2},
}


class Step(NamedTuple):
    """The messages of one process in one step."""

    calls: Counter[str]
    bytes: Counter[str]
    parameters: int  # their bytes
    norms: int  # forward passes of batch norms in training mode
    norms_backward: int  # those with a gradient


def step(name: str) -> Step:
    method, norms = small_method(FourStages, name), []
    for module in method.net.modules():
        if isinstance(module, JointBatchNorm2d):
            module.register_forward_pre_hook(
                lambda norm, _: norms.append(torch.is_grad_enabled()) if norm.training else None
            )
    per_rank = IMAGES // 2
    batch = part(joint_batch(0, per_rank), slice(rank() * per_rank, (rank() + 1) * per_rank))
    with Messages() as messages:
        method.step(batch)
    parameters = sum(param.nbytes for param in method.net.parameters())
    return Step(messages.calls, messages.bytes, parameters, len(norms), sum(norms))


def steps() -> dict[str, Step]:
    return {name: step(name) for name in NAMES}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Step]]:
    return run_ranks(steps, 2, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", NAMES)
def test_gradients_travel_once_per_backward_pass(name: str, ranks: list) -> None:
    for found in (each[name] for each in ranks):
        norms = {f"{NORMS}.joint_statistics": found.norms, f"{NORMS}.backward": found.norms_backward}
        assert found.calls == norms | OTHERS[name]
        assert found.bytes[GRADIENTS] == found.parameters * OTHERS[name][GRADIENTS]
        assert found.bytes.total() - found.bytes[GRADIENTS] < 0.05 * found.parameters * OTHERS[name][GRADIENTS]
        assert found.norms >= found.norms_backward > 0
