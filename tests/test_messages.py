"""The number of messages between processes in one step."""

from collections import Counter
from typing import NamedTuple

import pytest
import torch
from test_ranks import IMAGES, KINDS, FourStages, joint_batch, part

from benchmarks.measuring import Messages
from network.batch_norms import JointBatchNorm2d
from support.ranks import run_ranks, small_method
from utils.processes import rank

GRADIENTS = "methods.aggregate.accumulate"
LOSSES, WRITES = "loss.reduction.per_valid_pixel", "network.categorical_memory.write"
OTHERS = {  # (--mldg, --memory) -> messages in one step, without those of batch norms
    (False, False): {GRADIENTS: 1, LOSSES: 2},  # the auxiliary loss has its own pixels
    (True, False): {GRADIENTS: 2, LOSSES: 4},
    (False, True): {GRADIENTS: 1, LOSSES: 3, WRITES: 2, "methods.aggregate.gradients": 1},  # backward of a write
    (True, True): {GRADIENTS: 2, LOSSES: 6, WRITES: 3, "methods.aggregate.gradients": 2},
}


class Step(NamedTuple):
    """The messages of one process in one step."""

    calls: Counter[str]
    bytes: Counter[str]
    parameters: int  # their bytes
    norms: int  # forward passes of batch norms in training mode
    norms_backward: int  # those with a gradient


def step(mldg: bool, memory: bool) -> Step:
    method, norms = small_method(FourStages, mldg=mldg, memory=memory), []
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


def steps() -> dict[tuple[bool, bool], Step]:
    return {kind: step(*kind) for kind in KINDS}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[tuple[bool, bool], Step]]:
    return run_ranks(steps, 2, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_travel_once_per_backward_pass(kind: tuple[bool, bool], ranks: list) -> None:
    module = "network.batch_norms"
    for sent in (each[kind] for each in ranks):
        norms = {f"{module}.joint_statistics": sent.norms, f"{module}.backward": sent.norms_backward}
        assert sent.calls == norms | OTHERS[kind]
        assert sent.bytes[GRADIENTS] == sent.parameters * OTHERS[kind][GRADIENTS]
        assert sent.bytes.total() - sent.bytes[GRADIENTS] < 0.05 * sent.bytes[GRADIENTS]
        assert sent.norms >= sent.norms_backward > 0
