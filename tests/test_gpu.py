"""What only a CUDA device can show; skipped without one."""

import os
import time
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from test_ranks import IMAGES, train
from torch import Tensor, nn
from torch.nn.modules._functions import SyncBatchNorm
from torch.optim import SGD

from benchmarks.gpu_checks import runs
from datasets.images import LabelledImages
from datasets.registry import spec
from datasets.sampling.loaders import Batch, eval_loader
from engine.build import network_from
from engine.evaluating.prediction import Inference, Predictor
from engine.machine import autocast, choose_algorithms, choose_precision, compile_network
from loss.options import SegmentationOptions
from methods import METHODS
from methods.method import Method
from methods.objective import Objective
from methods.whitening_term import Whitening
from network.batch_norms import JointBatchNorm2d
from support.methods import NAMES, method_on
from support.ranks import run_ranks
from support.tiny_network import tiny_method
from utils.metrics import ConfusionMatrix

GPU = torch.device("cuda")
CPU = torch.device("cpu")
NORMS = {"": [0] * 7, "ISW": [0, 0, 2, 2, 2, 0, 0], "switchable": [0, 0, 5, 5, 5, 0, 0]}
CASES = [(name, "") for name in NAMES] + [("baseline", "ISW"), ("pinmem", "switchable")]
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts; deterministic steps need it

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")]


@pytest.fixture(autouse=True)
def settings() -> Iterator[None]:
    """Those of a program without flags."""
    choose_algorithms(deterministic=False)
    choose_precision("off", GPU)
    yield
    torch.cuda.set_sync_debug_mode("default")
    choose_algorithms(deterministic=False)


def real_method(
    name: str, device: torch.device, *, norms: str = "", dtype: torch.dtype = torch.float32, noise: bool = False
) -> Method:
    """The method on a real network: channels last, auxiliary head, decoder; with noise and drop-out if asked for."""
    torch.manual_seed(0)
    memory = {"slots": 19} if METHODS[name].memory else None
    config = {"arch": "DeepR18V3PlusD", "num_classes": 19, "memory": memory, "wt_layer": NORMS[norms]}
    net = network_from(config)
    for module in net.modules():
        if isinstance(module, nn.Dropout2d) and not noise:
            module.p = 0.0
    net, term = net.to(device, dtype).train(), None
    if norms == "ISW":
        term = Whitening([True] * 3, weight=0.6)
        sizes = [norm.num_features for norm in net.encoder.whitening]
        term.select([torch.ones(size, size, dtype=torch.bool).triu(1) for size in sizes], 0, device)
    return method_on(net, name, gumbel=noise, whitening=term)


def loaded(seed: int = 0) -> Batch:
    """Two domains as a loader yields them."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (2, 2, 3, 64, 64), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 19, (2, 2, 64, 64), dtype=torch.uint8, generator=generator)
    return Batch(images, labels, torch.tensor([True, False]))


def state(method: Method) -> dict[str, Tensor]:
    return {name: value.cpu() for name, value in method.net.state_dict().items()}


def assert_near(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        error = (found[name].double() - value.double()).norm() / value.double().norm().clamp_min(1e-3)
        assert error <= tolerance, f"{name}: {error:.1e}"


def steps_in_double(method: Method, device: torch.device, seeds: range) -> dict[str, Tensor]:
    """Losses, gradients and the state after steps in double precision."""
    found: dict[str, Tensor] = {}
    apply = method.apply

    def keep(*gradients: list[Tensor], mean: bool = False) -> None:
        for number, group in enumerate(gradients):
            for name, grad in zip(method.params, group, strict=True):
                found[f"gradient {number} of {name}"] = grad.clone().cpu()
        apply(*gradients, mean=mean)

    method.apply = keep
    for seed in seeds:
        batch = loaded(seed).ready(device)
        terms = method.step(batch._replace(images=batch.images.double()))
        found |= {f"{seed} {name}": term.cpu() for name, term in terms.items()}
    return found | state(method)


@pytest.mark.parametrize(("name", "norms"), CASES)
def test_losses_gradients_and_weights_equal_those_of_the_cpu(name: str, norms: str) -> None:
    expected, found = (
        steps_in_double(real_method(name, device, norms=norms, dtype=torch.float64), device, range(2))
        for device in (CPU, GPU)
    )
    assert_near(found, expected, 1e-6)


def test_a_state_of_the_cpu_goes_on() -> None:
    """Weights, momentum and schedule; the second step is the same on both devices."""
    ours, theirs = (real_method("pinmem", device, dtype=torch.float64) for device in (GPU, CPU))
    steps_in_double(theirs, CPU, range(1))
    for name in ("net", "optimizer", "scheduler"):
        getattr(ours, name).load_state_dict(deepcopy(getattr(theirs, name).state_dict()))
    assert_near(steps_in_double(ours, GPU, range(1, 2)), steps_in_double(theirs, CPU, range(1, 2)), 1e-6)
    assert ours.optimizer.param_groups[0]["fused"]


def steps(device: torch.device, amp: str, name: str, compiled: bool = False) -> list[dict[str, float]]:
    method, rows = tiny_method(name, device=device, gumbel=False), []
    if compiled:
        compile_network(method.net)
    for seed in range(3):
        with autocast(choose_precision(amp, device), device):
            terms = method.step(loaded(seed).ready(device))
        rows.append({name: term.item() for name, term in terms.items()})
    return rows


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("amp", "tolerance"), [("off", 1e-4), ("tf32", 1e-2), ("bf16", 2e-2)])
def test_losses_in_each_precision(name: str, amp: str, tolerance: float) -> None:
    for found, expected in zip(steps(GPU, amp, name), steps(CPU, "off", name), strict=True):
        assert found == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize(("amp", "exact"), [("off", True), ("tf32", False)])
def test_products_are_in_the_chosen_precision(amp: str, exact: bool) -> None:
    choose_precision(amp, GPU)
    value = 1 + 2**-13  # 10 bits of TF32 do not hold it
    x = torch.full((1, 64, 32, 32), value, device=GPU)
    products = x[0] @ x[0], nn.functional.conv2d(x, x[0, :, :1, :1, None].expand(64, 64, 1, 1).contiguous())
    for product, terms in zip(products, (32, 64), strict=True):
        assert ((product.double() / (terms * value**2) - 1).abs().max().item() < 1e-6) == exact


@pytest.mark.parametrize("name", ["pinmem", *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES[:-1])])
@pytest.mark.parametrize(("amp", "tolerance"), [pytest.param("off", 1e-4, marks=pytest.mark.slow), ("bf16", 2e-2)])
def test_compiled_steps_equal_others(name: str, amp: str, tolerance: float) -> None:
    torch.compiler.reset()
    for found, expected in zip(steps(GPU, amp, name, True), steps(GPU, amp, name), strict=True):
        assert found == pytest.approx(expected, rel=tolerance)


def pinned(batch: Batch) -> Batch:
    return batch._replace(images=batch.images.pin_memory(), labels=batch.labels.pin_memory())


@pytest.mark.parametrize("amp", ["off", "bf16"])
@pytest.mark.parametrize(("name", "norms"), CASES)
def test_nothing_in_a_step_waits(name: str, norms: str, amp: str) -> None:
    method, batch = real_method(name, GPU, norms=norms, noise=True), pinned(loaded())
    for mode in ("default", "error"):
        torch.cuda.set_sync_debug_mode(mode)
        with autocast(amp, GPU):
            method.step(batch.ready(GPU))


@pytest.mark.parametrize("name", NAMES)
def test_deterministic_steps_repeat_in_every_bit(name: str) -> None:
    """In strict mode, so that an operation without a deterministic form is an error, not a warning."""
    choose_algorithms(deterministic=True)
    torch.use_deterministic_algorithms(True)
    results = []
    for _ in range(2):
        method = real_method(name, GPU, noise=True)
        torch.manual_seed(0)
        terms = [term for seed in range(3) for term in method.step(loaded(seed).ready(GPU)).values()]
        results.append([*terms, *method.net.state_dict().values()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_losses_weighted_by_class_equal_those_of_the_cpu_and_nothing_waits() -> None:
    """Adjusted logits and image weights both count pixels, also where operations must be deterministic."""
    torch.use_deterministic_algorithms(True)
    logits = torch.randn(4, 19, 64, 64, generator=torch.Generator().manual_seed(0))
    losses = []
    for device in (CPU, GPU):
        pixels = torch.zeros(19, dtype=torch.int64, device=device)
        objective = Objective(SegmentationOptions(logit_adjust=0.5, image_weights=True), pixels=pixels)
        batch, mine = pinned(loaded()).ready(device), logits.to(device)
        torch.cuda.set_sync_debug_mode("error")
        objective.count(batch.labels)
        loss = objective.segmentation(mine, batch.labels.flatten(0, 1))
        torch.cuda.set_sync_debug_mode("default")
        losses.append(loss.item())
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)


@pytest.mark.parametrize("amp", ["off", "bf16"])
def test_gradients_have_the_layout_of_their_weights(amp: str) -> None:
    """Otherwise ``torch._foreach_*`` and the optimizer's single kernel treat the tensors one by one."""
    method, wrong = real_method("pinmem", GPU), []

    def look(*gradients: list[Tensor], mean: bool = False) -> None:
        for group in gradients:
            for (name, param), grad in zip(method.params.items(), group, strict=True):
                axes = [axis for axis, side in enumerate(param.shape) if side > 1]
                if [grad.stride(axis) for axis in axes] != [param.stride(axis) for axis in axes]:
                    wrong.append((name, param.stride(), grad.stride()))

    method.apply = look
    with autocast(amp, GPU):
        method.step(loaded().ready(GPU))
    assert not wrong


def test_the_single_kernel_steps_as_many_do() -> None:
    method = tiny_method("baseline", device="cuda")
    assert method.optimizer.defaults["fused"]
    many = [param.detach().clone().requires_grad_() for param in method.net.parameters()]
    other = SGD(many, lr=0.01, momentum=0.9, weight_decay=0, foreach=True)
    for step in range(3):
        grads = [torch.full_like(param, 0.1 * step + 0.01) for param in many]
        other.param_groups[0]["lr"] = method.scheduler.get_last_lr()[0]
        for param, grad in zip(many, grads, strict=True):
            param.grad = grad.clone()
        other.step()
        method.apply(grads)
    for ours, theirs in zip(method.net.parameters(), many, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("mode", ["whole", "sliding", "pooling"])
def test_labels_equal_those_of_the_cpu_and_nothing_waits(mode: str) -> None:
    image, labels = torch.randint(0, 256, (3, 128, 192), dtype=torch.uint8), torch.zeros(128, 192, dtype=torch.uint8)
    inference, views = Inference(mode, flip=mode != "whole", crop_size=96), {}
    for device in (CPU, GPU):
        net = real_method("memory", CPU).net.to(device)
        predict = Predictor(net, device=device, inference=inference)
        views[device] = predict(image.to(device), (), index=0).cpu()
    matrix, image, labels = ConfusionMatrix(19, GPU), image.pin_memory(), labels.pin_memory()
    torch.cuda.set_sync_debug_mode("error")
    matrix.update(labels.to(GPU, non_blocking=True), predict(image, (), index=0))
    torch.cuda.set_sync_debug_mode("default")
    assert (views[CPU] == views[GPU]).double().mean() > 0.998


def test_evaluation_loads_into_pinned_memory(data: Path) -> None:
    images = LabelledImages(spec("gtav"), data, "val")
    for workers in (0, 1):
        image, labels, *_ = next(iter(eval_loader(images, workers=workers, device="cuda")))
        assert image.is_pinned() and labels.is_pinned()


def test_two_ranks_on_one_device_equal_a_process_on_the_cpu(tmp_path: Path) -> None:
    """By gloo: NCCL refuses two ranks on one device."""
    expected = train("pinmem", IMAGES // 2)
    for results in run_ranks(train, 2, tmp_path, "pinmem", IMAGES // 2, "cuda"):
        for key, value in expected.items():
            assert (results[key] - value).abs().max() <= 1e-6 * value.abs().max().clamp_min(1e-3), key


@pytest.fixture
def nccl(tmp_path: Path) -> Iterator[None]:
    """A group of one process."""
    dist.init_process_group("cpu:gloo,cuda:nccl", init_method=f"file://{tmp_path}/ranks", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_nccl_starts(nccl: None) -> None:
    total = torch.ones(3, device="cuda")
    dist.all_reduce(total)
    assert total.tolist() == [1, 1, 1]


def test_the_norms_over_processes_agree(nccl: None) -> None:
    """Torch's norm waits for the device in each forward pass, ours moves more data in the backward: which is faster?"""
    x = torch.randn(8, 256, 96, 96, device=GPU, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    norm, results = JointBatchNorm2d(256).to(GPU), {}
    inputs = [x.requires_grad_(), norm.weight, norm.bias]
    statistics = norm.running_mean, norm.running_var, norm.eps, norm.momentum
    for name, forward in {
        "ours": norm,
        "torch's": lambda x: SyncBatchNorm.apply(x, norm.weight, norm.bias, *statistics, dist.group.WORLD, 1),
    }.items():
        for turn in range(25):
            if turn == 5:
                torch.cuda.synchronize()
                start = time.perf_counter()
            y = forward(x)
            results[name] = [y, *torch.autograd.grad(y, inputs, x.detach())]
        torch.cuda.synchronize()
        print(
            f"{name}: {(time.perf_counter() - start) / 20 * 1e3:.2f} ms for forward and backward of 8x256x96x96, bf16"
        )
    for ours, theirs in zip(*results.values(), strict=True):
        assert (ours - theirs).float().norm() <= 1e-2 * theirs.float().norm()


@pytest.mark.slow
def test_a_run_goes_on_elsewhere(tmp_path: Path) -> None:
    """Train, resume on the CPU and back, evaluate on both; on_gpu.sh does it with a larger network."""
    runs("DeepR18V3PlusD", 64, GPU, tmp_path, 6)
