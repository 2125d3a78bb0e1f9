"""Precision, algorithms and compilation: that the flags reach torch; what they do on a GPU is in test_gpu.py."""

import multiprocessing
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from test_methods import random_batch
from torch import nn
from torch._dynamo.exc import TorchDynamoException
from torch._subclasses import FakeTensorMode

from datasets.shared_classes import shared_classes
from engine import machine
from engine.build import network_config
from engine.machine import choose_precision
from engine.options.training_command import parse_training
from engine.training import run as training
from optimizer.optimizers import build_optimizer
from optimizer.schedules import OptimizerOptions
from support.methods import NAMES
from support.tiny_network import tiny_method
from utils.errors import CommonError, UsageError
from utils.processes import own_cores
from utils.program import run_program

ROOT = Path(__file__).parent.parent
SCHEDULE = OptimizerOptions(exponent=9, horizon=100)


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Those of the other tests are put back."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # noted, so that it is put back
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    for name in ("benchmark", "deterministic", "allow_tf32"):
        monkeypatch.setattr(torch.backends.cudnn, name, getattr(torch.backends.cudnn, name))
    product = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(product)
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("deterministic", [False, True])
def test_algorithms(deterministic: bool) -> None:
    machine.choose_algorithms(deterministic=deterministic)
    assert torch.are_deterministic_algorithms_enabled() == torch.backends.cudnn.deterministic == deterministic
    assert torch.backends.cudnn.benchmark == (not deterministic)
    assert not torch.utils.deterministic.fill_uninitialized_memory
    assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") == (":4096:8" if deterministic else None)


def pages_of_later_steps(keep: bool) -> int:
    """How many pages a process gets from the system for ten tensors of 64 MB once it has had such a one."""
    if keep:
        machine.keep_memory(torch.device("cpu"))
    torch.ones(1 << 24)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(1 << 24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc's")
def test_memory_is_kept() -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        given_back, kept = pool.map(pages_of_later_steps, (False, True))
    assert kept < given_back / 4  # something small may lie where one was, so that another place is needed once


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="printed by GNU's OpenMP")
@pytest.mark.parametrize(("policy", "spins"), [(None, 1000), ("ACTIVE", 30_000_000_000)])
def test_waiting_threads_sleep_unless_the_user_wants_them_to_spin(policy: str | None, spins: int) -> None:
    environment = {**os.environ, "OMP_DISPLAY_ENV": "VERBOSE", "OMP_WAIT_POLICY": policy, "GOMP_SPINCOUNT": ""}
    environment = {name: value for name, value in environment.items() if value}
    for program in ("train", "eval"):
        command = [sys.executable, "-c", f"import {program}, torch"]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0 and f"GOMP_SPINCOUNT = '{spins}'" in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("amp", "device", "major", "precision"),
    [
        ("auto", "cuda", 9, "bf16"),
        ("auto", "cuda", 7, "off"),  # Turing and Volta emulate bf16
        ("bf16", "cuda", 7, "bf16"),
        ("auto", "cpu", 0, "off"),
        ("tf32", "cuda", 9, "tf32"),
        ("tf32", "cpu", 0, "off"),
        ("off", "cuda", 9, "off"),
    ],
)
def test_precision(amp: str, device: str, major: int, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: device == "cuda")
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(major=major))
    tf32 = precision == "tf32"
    torch.set_float32_matmul_precision("medium")
    assert choose_precision(amp, torch.device(device)) == precision
    assert torch.backends.cudnn.allow_tf32 == tf32
    assert torch.get_float32_matmul_precision() == ("high" if tf32 else "highest")


def test_the_optimizer_is_one_kernel_on_cuda_only() -> None:
    with FakeTensorMode():
        on_cuda = nn.ParameterList([nn.Parameter(torch.empty(2, device="cuda"))])
        assert build_optimizer(on_cuda, SCHEDULE)[0].defaults["fused"]
    sgd, _ = build_optimizer(nn.Linear(2, 2), SCHEDULE)
    assert not sgd.param_groups[0]["fused"]


@pytest.mark.parametrize("name", NAMES)
def test_compiled_steps_equal_others(name: str) -> None:
    torch.compiler.reset()
    results = []
    batch = random_batch()
    batch = batch._replace(images=batch.images.double())
    for compiled in (False, True):
        method = tiny_method(name, gumbel=False)
        method.net.double()
        if compiled:
            machine.compile_network(method.net, backend="aot_eager")
        terms = [method.step(batch) for _ in range(2)]
        results.append((terms, method.net.state_dict()))
    torch.testing.assert_close(*results, rtol=0, atol=1e-11)


def test_flags_reach_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "--deterministic --compile --arch DeepR18V3PlusD --pretrained_backbone none --device nowhere"
    options, calls = parse_training(line.split()), []
    monkeypatch.setattr(machine, "choose_algorithms", lambda *, deterministic: calls.append(deterministic))
    monkeypatch.setattr(machine, "compile_network", calls.append)
    with pytest.raises(UsageError, match="nowhere"):
        training.train(options)
    config = network_config(options.network, shared_classes(options.run.sources), memory=False)
    net = training.start_network(options, config, torch.device("cpu"))
    assert calls == [True, net]


def test_a_failed_compilation_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    def fails() -> None:
        raise TorchDynamoException("no compiler\nand more")

    with pytest.raises(SystemExit) as end:
        run_program("train.py", fails)
    error = capsys.readouterr().err
    assert end.value.code == 2 and "(no compiler); give --no-compile" in error and error.count("\n") == 1
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(CommonError, match="--compile: works for a single process only"):
        parse_training(["--compile"])


def test_a_process_uses_the_named_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, zeros = [], torch.zeros
    monkeypatch.setattr(torch.cuda, "set_device", calls.append)
    monkeypatch.setattr(torch, "zeros", lambda *size, device: zeros(*size))
    assert machine.choose_device("cuda:1") == torch.device("cuda:1") and calls == [torch.device("cuda:1")]
    for name in ("cuda", "cpu"):
        machine.choose_device(name)
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "3")
    machine.choose_device("cuda")
    assert calls[1:] == [torch.device("cuda:3")]


class Layer(nn.Conv2d):
    """A module of one's own: torch 2.6 leaves calls of its own modules alone."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x)


def test_validation_tries_no_algorithms_and_is_not_compiled() -> None:
    torch.compiler.reset()
    machine.choose_algorithms(deterministic=False)
    calls = []
    layer = Layer(3, 2, 1)
    layer.compile(backend=lambda graph, inputs: calls.append(graph) or graph)
    with machine.any_size(True):
        layer(torch.zeros(1, 3, 4, 4))
        assert not torch.backends.cudnn.benchmark
    assert not calls and torch.backends.cudnn.benchmark
    layer(torch.zeros(1, 3, 4, 4))
    assert len(calls) == 1


@pytest.mark.parametrize(("processes", "cores", "workers"), [(1, 16, 8), (4, 4, 3), (32, 1, 1)])
def test_processes_of_a_machine_share_its_cores(
    processes: int, cores: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert own_cores() == cores and parse_training([]).machine.workers == workers
