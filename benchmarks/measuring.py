"""What the measurements share."""

import multiprocessing
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, distributed


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


COLLECTIVES = (
    "all_reduce",
    "all_gather",
    "all_gather_into_tensor",
    "all_gather_object",
    "reduce_scatter_tensor",
    "broadcast",
    "broadcast_object_list",
    "barrier",
)


class Messages:
    """What a process exchanges with the others while this is entered, by the function that wanted it.

    ``calls`` and ``bytes`` (of the tensor that this process gives) by "module.function", the ``seconds`` of all, in
    which it also waits for the slower ones.  Functions of ``utils.distributed`` and of torch are passed over.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.seconds = 0.0

    def __enter__(self) -> "Messages":
        self.untold = {name: getattr(distributed, name) for name in COLLECTIVES}
        for name, function in self.untold.items():
            setattr(distributed, name, self.telling(function))
        return self

    def __exit__(self, *error: object) -> None:
        for name, function in self.untold.items():
            setattr(distributed, name, function)

    def telling(self, function: Callable) -> Callable:
        def call(*args: Any, **kwargs: Any) -> Any:
            who = asking()
            start = time.perf_counter()
            result = function(*args, **kwargs)
            self.seconds += time.perf_counter() - start
            self.calls[who] += 1
            self.bytes[who] += max((x.nbytes for x in args if isinstance(x, Tensor)), default=0)
            return result

        return call


def asking() -> str:
    """The function that wants a message, as "module.function"."""
    frame = sys._getframe(2)
    while frame.f_globals["__name__"].startswith(("torch.", "utils.distributed")):
        frame = frame.f_back
    return f"{frame.f_globals['__name__']}.{frame.f_code.co_name}"
