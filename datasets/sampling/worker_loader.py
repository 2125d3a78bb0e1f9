"""A data loader whose errors are one line, and whose workers leave signals to the main process."""

import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from functools import partial
from multiprocessing import active_children
from multiprocessing.process import BaseProcess
from multiprocessing.resource_sharer import DupFd
from pathlib import Path
from shutil import disk_usage
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader, Dataset, get_worker_info

from utils.errors import UsageError
from utils.files import refuse_special_files

SHARED = Path("/dev/shm")  # the disk of shared memory, through which tensors travel; only Linux has it
UNSENT = "shared memory|open files|ancdata"  # in errors of torch about tensors of another process
QUEUES = 1 << 14  # bytes that the queues of a worker need there
MORE_ROOM = "give the container more (docker: --shm-size 8g), or take fewer --num_workers; --num_workers 0 needs none"


def _deaths(workers: Sequence[BaseProcess]) -> list[str]:
    codes = [worker.exitcode for worker in workers if worker.exitcode]
    return [f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}" for code in codes]


@contextmanager
def _deaths_raised(workers: Sequence[BaseProcess]) -> Iterator[None]:
    """Within this context the death of a worker raises an error at once; after it, a death raises nothing.

    Torch's own handler raises wherever the main process is, and in the middle of a step the weights would be neither
    old nor new.
    """
    if not workers or threading.current_thread() is not threading.main_thread():  # other threads have no handlers
        yield
        return

    def check(*_: object) -> None:
        if _deaths(workers):
            raise RuntimeError("a worker died")

    signal.signal(signal.SIGCHLD, check)
    try:
        check()  # for a worker that died before
        yield
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _prepare_worker(worker: int) -> None:
    refuse_special_files()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # left to the main process
        signal.signal(number, signal.SIG_IGN)
    DupFd(os.open(os.devnull, os.O_RDONLY))  # opens the socket for tensors: later its failure would be lost


def _shared(collate: Callable[[Any], Any], samples: Any) -> Any:
    """The collated samples, in a worker already in shared memory: if torch moves them there later, a failure is lost,
    and the main process waits for ever."""
    batch = collate(samples)
    for leaf in tree_leaves(batch) if get_worker_info() else ():
        if isinstance(leaf, Tensor) and leaf.numel():
            leaf.share_memory_()
    return batch


class Loader(DataLoader):
    """A loader that ends its workers and raises a ``UsageError`` after a mistake of the user or a worker's death.

    Ctrl-C and SIGTERM often reach the whole process group, so the workers ignore them and the main process answers.
    An item of the loader takes about ``item_bytes``.
    """

    def __init__(self, *args, item_bytes: int = 0, **kwargs) -> None:
        super().__init__(*args, worker_init_fn=_prepare_worker, **kwargs)
        self.collate_fn = partial(_shared, self.collate_fn)
        at_once = min(len(self), self.num_workers * (self.prefetch_factor or 0))
        self.shared_bytes = self.num_workers * QUEUES + at_once * item_bytes  # at most in shared memory at a time

    def __iter__(self) -> Iterator:
        check_room(self)
        batches, workers, end = None, (), object()
        try:
            batches = super().__iter__()
            workers = getattr(batches, "_workers", ())
            while True:
                with _deaths_raised(workers):
                    batch = next(batches, end)
                if batch is end:
                    return
                yield batch
        except Exception as error:
            deaths = _deaths(workers)
            signals = "".join(deaths)  # torch 2.6 writes into full memory
            if isinstance(error, UsageError):
                message = str(error)
            elif "unable to allocate shared memory" in str(error) or "SIGBUS" in signals:
                message = f"{SHARED}: is full, the processes that load data cannot pass it on; {MORE_ROOM}"
            elif deaths:
                message = (
                    f"--num_workers {self.num_workers}: a process that loads data died ({deaths[0]}); give the machine "
                    "or container more memory (docker: --ipc=host), or use fewer, 0 for none"
                )
            elif self.num_workers and (isinstance(error, OSError) or re.search(UNSENT, str(error))):
                problem = str(error).strip().splitlines()[-1]
                message = f"--num_workers {self.num_workers}: processes cannot load data here ({problem}); "
                message += "mend that, or give 0"
            else:
                raise
            with redirect_stderr(None):  # torch's iterator, which only the traceback keeps, may be half made
                error.__traceback__ = None
            for worker in workers or active_children():  # others may wait for a lock that the dead one holds
                worker.kill()
        finally:
            # Workers ignore SIGTERM, so exit would wait for ever for those of an iterator that an error keeps alive.
            getattr(batches, "_shutdown_workers", lambda: None)()
        raise UsageError(message)


def check_room(*loaders: Loader, processes: int = 1) -> None:
    """UsageError if shared memory cannot hold what these loaders of ``processes`` processes put there at a time."""
    needed = processes * sum(loader.shared_bytes for loader in loaders)
    if needed and SHARED.is_dir() and needed > (free := disk_usage(SHARED).free):
        raise UsageError(
            f"{SHARED}: has {free / 1e6:.1f} MB free, and the processes that load data put up to {needed / 1e6:.1f} MB "
            f"there; {MORE_ROOM}"
        )


@dataclass(frozen=True)
class _Items(Dataset):
    item: Callable[[int], Any]

    def __getitem__(self, index: int) -> Any:
        return self.item(index)


def one_by_one(
    item: Callable[[int], Any], indices: Sequence[int], workers: int, device: str = "cpu", *, item_bytes: int = 0
) -> Loader:
    """``item(index)``, of about ``item_bytes``, for each of ``indices``, without batches; arrays become tensors, on
    their way to ``device``."""
    pin = device == "cuda"  # else the host would wait for the device at every copy
    settings = {"num_workers": workers, "pin_memory": pin, "item_bytes": item_bytes}
    return Loader(_Items(item), batch_size=None, sampler=indices, **settings)
