"""What processes that train as one tell each other in a step, counted."""

from collections import Counter
from typing import NamedTuple

import pytest
import torch
from test_ranks import IMAGES, KINDS, FourStages, joint_batch, part

from benchmarks.measuring import Messages
from datasets.sampling.loaders import Batch
from network.batch_norms import JointBatchNorm2d
from support.ranks import run_ranks, small_method
from utils.distributed import all_sum
from utils.processes import rank

GRADIENTS = "methods.aggregate.accumulate"
LOSSES, WRITES = "loss.reduction.per_valid_pixel", "network.categorical_memory.write"
OTHERS = {  # (--mldg, --memory) -> messages of one step, apart from those of batch norms
    (False, False): {GRADIENTS: 1, LOSSES: 2},  # the auxiliary loss has pixels of its own
    (True, False): {GRADIENTS: 2, LOSSES: 4},
    (False, True): {GRADIENTS: 1, LOSSES: 3, WRITES: 2, "methods.aggregate.gradients": 1},  # backward of a write
    (True, True): {GRADIENTS: 2, LOSSES: 6, WRITES: 3, "methods.aggregate.gradients": 2},
}


class Step(NamedTuple):
    """What one process asked for, in one step."""

    calls: Counter[str]
    bytes: Counter[str]
    parameters: int  # bytes of all
    norms: int  # batch norms that went by the batch
    norms_backward: int


def step(mldg: bool, memory: bool, more: bool = False) -> Step:
    method, norms = small_method(FourStages, mldg=mldg, memory=memory), []
    for module in method.net.modules():
        if isinstance(module, JointBatchNorm2d):
            module.register_forward_pre_hook(
                lambda norm, _: norms.append(torch.is_grad_enabled()) if norm.training else None
            )
    if more:
        method.after_update = one_more
    per_rank = IMAGES // 2
    batch = part(joint_batch(0, per_rank), slice(rank() * per_rank, (rank() + 1) * per_rank))
    with Messages() as messages:
        method.step(batch)
    parameters = sum(param.nbytes for param in method.net.parameters())
    return Step(messages.calls, messages.bytes, parameters, len(norms), sum(norms))


def one_more(batch: Batch) -> None:
    all_sum(batch.labels.sum())


def steps() -> dict[tuple[bool, ...], Step]:
    return {kind: step(*kind) for kind in [*KINDS, (False, False, True)]}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[tuple[bool, ...], Step]]:
    return run_ranks(steps, 2, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_travel_once_per_backward_pass(kind: tuple[bool, bool], ranks: list) -> None:
    for found in (each[kind] for each in ranks):
        norms = {
            "network.batch_norms.joint_statistics": found.norms,
            "network.batch_norms.backward": found.norms_backward,
        }
        assert found.calls == norms | OTHERS[kind]
        assert found.bytes[GRADIENTS] == found.parameters * OTHERS[kind][GRADIENTS]
        assert found.bytes.total() - found.bytes[GRADIENTS] < 0.05 * found.parameters * OTHERS[kind][GRADIENTS]
        assert found.norms >= found.norms_backward > 0


def test_one_more_message_is_seen(ranks: list) -> None:
    for found in ranks:
        assert found[False, False, True].calls - found[False, False].calls == {"test_messages.one_more": 1}
