"""How torch works on this machine: device, precision, algorithms, compilation, memory."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch._functorch import config as functorch_config

from network.deeplab import DeepLab
from utils.errors import UsageError
from utils.processes import local_rank, world_size

TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4  # settings of glibc's mallopt (malloc.h)


def choose_device(name: str) -> torch.device:
    """The device of this process, which becomes the one that torch means by "cuda".

    Under ``torchrun`` every process of a machine has a GPU of its own.  UsageError if the device cannot be used here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and world_size() > 1:
        name = f"cuda:{local_rank()}"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
        if device.type == "cuda" and device.index is not None:
            torch.cuda.set_device(device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(
            f"--device {name}: not usable here ({str(error).splitlines()[0]}); try --device cpu"
        ) from error
    return device


def precision_of(amp: str, device: torch.device) -> str:
    """The meaning of ``--amp`` on ``device``: 'bf16', 'tf32' (only on CUDA devices) or 'off'.

    'auto' is bf16 on GPUs that compute in it; older ones emulate it, slowly.
    """
    on_cuda = device.type == "cuda"
    half = on_cuda and torch.cuda.is_bf16_supported(including_emulation=False)
    return {"auto": "bf16" if half else "off", "tf32": "tf32" if on_cuda else "off"}.get(amp, amp)


def choose_precision(amp: str, device: torch.device) -> str:
    """The same; from now on float32 products are rounded to TF32 with 'tf32', and are true float32 otherwise."""
    precision = precision_of(amp, device)
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    return precision


def autocast(precision: str, device: torch.device) -> AbstractContextManager:
    """The context in which the network runs.

    It has no cache of cast weights: within one training step the cache would outlive the optimizer's update.
    """
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16", cache_enabled=False)


def keep_memory(device: torch.device) -> None:
    """Let the C library keep the memory of a CPU's tensors instead of returning it to the system.

    Otherwise every step gets gigabytes from the system again, page by page.  Only glibc has this setting.
    """
    if device.type != "cpu" or sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for name, value in ((MMAP_MAX, 0), (TRIM_THRESHOLD, -1), (TOP_PAD, 64 << 20)):
            mallopt(name, value)


def choose_algorithms(*, deterministic: bool) -> None:
    """Choose the fastest convolutions by trial, since all crops have one size; or those that always give the same bits.

    Call it before CUDA is used: cuBLAS reads its setting once.  Torch warns where it has no such algorithm.
    """
    torch.backends.cudnn.benchmark = not deterministic
    torch.backends.cudnn.deterministic = deterministic
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # of tensors that are written before they are read
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def compile_network(net: DeepLab, *, backend: str = "inductor") -> None:
    """Compile the network in place, and its encoder, which a method also calls alone.  Names of weights stay.

    Weights and buffers are inputs of the compiled code, so a look-ahead at other weights uses it too.  Its backward is
    outside autocast, as in ``Method.own_gradients``; an older torch, without this setting, has it inside.
    """
    if hasattr(functorch_config, "backward_pass_autocast"):
        functorch_config.backward_pass_autocast = "off"
    net.encoder.compile(backend=backend)
    net.compile(backend=backend)


@contextmanager
def any_size(compiled: bool) -> Iterator[None]:
    """The context for images of many sizes: torch would compile the network, and try all convolutions, for each."""
    before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, False
    try:
        with torch.compiler.set_stance("force_eager") if compiled else nullcontext():
            yield
    finally:
        torch.backends.cudnn.benchmark = before
