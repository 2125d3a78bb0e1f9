"""What the measurements share."""

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import torch


def in_own_process(function: Callable, *arguments: Any) -> Any:
    """Call in a fresh process, so that no measurement inherits another's memory."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(function: Callable[[], None], device: torch.device) -> float:
    """How long a call takes until the device has done its part."""
    start = time.perf_counter()
    function()
    wait_for(device)
    return time.perf_counter() - start


def processor_seconds_of(function: Callable[[], None], device: torch.device) -> float:
    """The same, on a CPU in seconds of work: other programs on the machine do not lengthen those.

    With OMP_NUM_THREADS=1, that is; else threads that wait for each other count too.
    """
    if device.type != "cpu":
        return seconds_of(function, device)
    start = time.process_time()
    function()
    return time.process_time() - start


def peak_gigabytes(device: torch.device) -> float:
    """The highest use so far: of the device, or of the whole process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
