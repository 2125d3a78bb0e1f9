"""How torch works on the machine of a training run: with which algorithms, and whether the network is compiled."""

import ctypes
import os
import sys
from contextlib import AbstractContextManager, nullcontext

import torch

from network.deeplab import DeepLab

# What glibc's mallopt calls its settings (malloc.h).
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4


def keep_memory(device: torch.device) -> None:
    """Let a CPU's tensors lie where earlier ones lay.

    The C library gives back large pieces of memory at once, so that every step would get gigabytes from the system
    anew, page by page.  From now on it keeps what this process had, and asks for 64 MB at least.  That is a matter of
    glibc; elsewhere nothing happens.
    """
    if device.type != "cpu" or sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for name, value in ((MMAP_MAX, 0), (TRIM_THRESHOLD, -1), (TOP_PAD, 64 << 20)):
            mallopt(name, value)


def choose_algorithms(*, deterministic: bool) -> None:
    """The fastest convolutions, found by trial since all crops have one size; or those that always give the same bits.

    To be called before CUDA is used: cuBLAS reads its setting once.  Where torch has no such algorithm, it warns
    and goes on.
    """
    torch.backends.cudnn.benchmark = not deterministic
    torch.backends.cudnn.deterministic = deterministic
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def compile_network(net: DeepLab, *, backend: str = "inductor") -> None:
    """Let torch compile ``net`` when it is called, and its encoder where that is called alone; names stay.

    Weights and buffers are inputs of what is compiled, so that a look-ahead at other weights uses it too.
    """
    net.encoder.compile(backend=backend)
    net.compile(backend=backend)


def uncompiled(compiled: bool) -> AbstractContextManager:
    """Where images have many sizes, each of which would be compiled."""
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()
