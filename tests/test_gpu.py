"""What only a CUDA device can show; skipped without one."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from test_ranks import IMAGES, train
from torch.optim import SGD

from datasets.sampling.loaders import Batch
from engine.machine import autocast, choose_algorithms, compile_network
from support.methods import NAMES
from support.ranks import run_ranks
from support.tiny_network import tiny_method

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")]


def steps(device: str, precision: str, name: str, compiled: bool = False) -> list[dict[str, float]]:
    method = tiny_method(name, device=device, gumbel=False)
    if compiled:
        compile_network(method.net)
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


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("precision", "tolerance"), [("off", 1e-4), ("bf16", 2e-2)])
def test_steps_equal_those_of_the_cpu(name: str, precision: str, tolerance: float) -> None:
    expected, found = steps("cpu", "off", name), steps("cuda", precision, name)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_compiled_steps_equal_others(name: str) -> None:
    torch.compiler.reset()
    expected, found = (steps("cuda", "off", name, compiled) for compiled in (False, True))
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_in_a_step_waits(name: str) -> None:
    method = tiny_method(name, device="cuda")
    images = torch.randint(0, 256, (2, 2, 3, 32, 32), dtype=torch.uint8).pin_memory()
    labels = torch.randint(0, 19, (2, 2, 32, 32), dtype=torch.uint8).pin_memory()
    batch = Batch(images, labels, torch.tensor([True, False]))
    method.step(batch.ready("cuda"))
    torch.cuda.set_sync_debug_mode("error")
    try:
        method.step(batch.ready("cuda"))
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_deterministic_steps_repeat_in_every_bit() -> None:
    choose_algorithms(deterministic=True)
    try:
        weights = []
        for _ in range(2):
            method = tiny_method("pinmem", device="cuda", gumbel=False)
            generator = torch.Generator().manual_seed(0)
            images = torch.randn(2, 2, 3, 64, 64, generator=generator).to("cuda")
            labels = torch.randint(0, 19, (2, 2, 64, 64), generator=generator)
            batch = Batch(images, labels.to("cuda"), torch.tensor([True, False]))
            for _ in range(3):
                method.step(batch)
            weights.append(list(method.net.state_dict().values()))
    finally:
        choose_algorithms(deterministic=False)
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def test_the_single_kernel_steps_as_many_do() -> None:
    method = tiny_method("baseline", device="cuda")
    assert method.optimizer.defaults["fused"]
    many = [param.detach().clone().requires_grad_() for param in method.net.parameters()]
    other = SGD(many, lr=0.01, momentum=0.9, weight_decay=0, foreach=True)
    for step in range(3):
        grads = [torch.full_like(param, 0.1 * step + 0.01) for param in many]
        other.param_groups[0]["lr"] = method.scheduler.get_last_lr()[0]
        method.apply(grads)
        for param, grad in zip(many, grads, strict=True):
            param.grad = grad.clone()
        other.step()
    for ours, theirs in zip(method.net.parameters(), many, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


def test_two_ranks_on_one_device_equal_a_process_on_the_cpu(tmp_path: Path) -> None:
    """By gloo: NCCL refuses two ranks on one device."""
    expected = train("pinmem", IMAGES // 2)
    for results in run_ranks(train, 2, tmp_path, "pinmem", IMAGES // 2, "cuda"):
        for key, value in expected.items():
            assert (results[key] - value).abs().max() <= 1e-6 * value.abs().max().clamp_min(1e-3), key


def test_nccl_starts(tmp_path: Path) -> None:
    dist.init_process_group("cpu:gloo,cuda:nccl", init_method=f"file://{tmp_path}/ranks", rank=0, world_size=1)
    try:
        total = torch.ones(3, device="cuda")
        dist.all_reduce(total)
        assert total.tolist() == [1, 1, 1]
    finally:
        dist.destroy_process_group()
