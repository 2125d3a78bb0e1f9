"""What processes that train as one tell each other in a step, counted."""

from collections import Counter
from typing import NamedTuple

import pytest
import torch
from test_ranks import IMAGES, FourStages, joint_batch, part

from benchmarks.messages import Messages
from network.norms import JointBatchNorm2d
from support.methods import NAMES
from support.ranks import run_ranks, small_method
from utils.distributed import all_sum
from utils.processes import rank

GRADIENTS = "methods.method.sum_over_processes"
LOSSES, WRITES = "loss.reduction.per_valid_pixel", "network.categorical_memory.write"
BACKWARD = "methods.method.own_gradients"  # of a write
OTHERS = {  # the messages of one step, besides those of batch norms
    "baseline": {GRADIENTS: 1, LOSSES: 2},  # the auxiliary loss has pixels of its own
    "mldg": {GRADIENTS: 2, LOSSES: 4},
    "memory": {GRADIENTS: 1, LOSSES: 3, WRITES: 2, BACKWARD: 1},
    "pinmem": {GRADIENTS: 2, LOSSES: 6, WRITES: 3, BACKWARD: 2},
}


class Step(NamedTuple):
    """What one process asked for, in one step."""

    calls: Counter[str]
    bytes: Counter[str]
    parameters: int  # bytes of all
    norms: int  # batch norms that went by the batch
    norms_backward: int


def step(name: str, more: bool = False) -> Step:
    method, norms = small_method(FourStages, name), []
    for module in method.net.modules():
        if isinstance(module, JointBatchNorm2d):
            module.register_forward_pre_hook(
                lambda norm, _: norms.append(torch.is_grad_enabled()) if norm.training else None
            )
    if more:
        method.optimizer.register_step_post_hook(one_more)
    per_rank = IMAGES // 2
    batch = part(joint_batch(0, per_rank), slice(rank() * per_rank, (rank() + 1) * per_rank))
    with Messages() as messages:
        method.step(batch)
    parameters = sum(param.nbytes for param in method.net.parameters())
    return Step(messages.calls, messages.bytes, parameters, len(norms), sum(norms))


def one_more(*_: object) -> None:
    all_sum(torch.zeros(1))


def steps() -> dict[str, Step]:
    return {name: step(name) for name in NAMES} | {"one more": step("baseline", more=True)}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Step]]:
    return run_ranks(steps, 2, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", NAMES)
def test_gradients_travel_once_per_backward_pass(name: str, ranks: list) -> None:
    for found in (each[name] for each in ranks):
        norms = {"network.norms.joint_statistics": found.norms, "network.norms.backward": found.norms_backward}
        assert found.calls == norms | OTHERS[name]
        assert found.bytes[GRADIENTS] == found.parameters * OTHERS[name][GRADIENTS]
        assert found.bytes.total() - found.bytes[GRADIENTS] < 0.05 * found.parameters * OTHERS[name][GRADIENTS]
        assert found.norms >= found.norms_backward > 0


def test_one_more_message_is_seen(ranks: list) -> None:
    for found in ranks:
        assert found["one more"].calls - found["baseline"].calls == {"test_messages.one_more": 1}
