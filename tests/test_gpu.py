"""What only a CUDA device can show; skipped without one."""

import pytest
import torch
from tiny import tiny_method

from datasets.loaders import Batch
from engine.build import autocast

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")]
KINDS = [(False, False), (True, False), (False, True), (True, True)]


def steps(device: str, precision: str, mldg: bool, memory: bool) -> list[dict[str, float]]:
    options = {"gumbel": False} if memory else {}
    method = tiny_method(mldg=mldg, memory=memory, **options)
    method.net.to(device)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 2, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 19, (2, 2, 32, 32), dtype=torch.uint8, generator=generator)
    batch = Batch(images, labels, torch.tensor([True, False]))
    rows = []
    for _ in range(3):
        with autocast(precision, torch.device(device)):
            terms = method.step(batch.ready(device))
        rows.append({name: term.item() for name, term in terms.items()})
    return rows


@pytest.mark.parametrize(("mldg", "memory"), KINDS)
@pytest.mark.parametrize(("precision", "tolerance"), [("off", 1e-4), ("bf16", 2e-2)])
def test_steps_equal_those_of_the_cpu(mldg: bool, memory: bool, precision: str, tolerance: float) -> None:
    expected, found = steps("cpu", "off", mldg, memory), steps("cuda", precision, mldg, memory)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=tolerance)
