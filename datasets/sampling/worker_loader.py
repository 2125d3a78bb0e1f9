"""A data loader whose errors are one line, and whose workers leave signals to the main process."""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any

from torch.utils.data import DataLoader, Dataset

from utils.errors import UsageError


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


def _leave_signals_to_main(worker: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


class Loader(DataLoader):
    """A loader that ends its workers and raises a ``UsageError`` after a mistake of the user or a worker's death.

    Ctrl-C and SIGTERM often reach the whole process group, so the workers ignore them and the main process answers.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, worker_init_fn=_leave_signals_to_main, **kwargs)

    def __iter__(self) -> Iterator:
        batches, end = super().__iter__(), object()
        workers = getattr(batches, "_workers", ())
        try:
            while True:
                with _deaths_raised(workers):
                    batch = next(batches, end)
                if batch is end:
                    return
                yield batch
        except UsageError as error:
            message = str(error)
            # Its traceback refers to the error itself, so the workers would live on, and exit would wait for them.
            error.__traceback__ = None
        except Exception:
            if not (deaths := _deaths(workers)):
                raise
            message = (
                f"--num_workers {self.num_workers}: a process that loads data died ({deaths[0]}); give the machine or "
                "container more memory (docker: --ipc=host), or use fewer, 0 for none"
            )
            for worker in workers:  # the others may wait for a lock that the dead one holds
                worker.kill()
        finally:
            # Workers ignore SIGTERM, so exit would wait for ever for those of an iterator that an error keeps alive.
            getattr(batches, "_shutdown_workers", lambda: None)()
        raise UsageError(message)


@dataclass(frozen=True)
class _Items(Dataset):
    item: Callable[[int], Any]

    def __getitem__(self, index: int) -> Any:
        return self.item(index)


def one_by_one(item: Callable[[int], Any], indices: Sequence[int], workers: int, device: str = "cpu") -> DataLoader:
    """``item(index)`` for each of ``indices``, without batches; arrays become tensors, on their way to ``device``."""
    pin = device == "cuda"  # else the host would wait for the device at every copy
    return Loader(_Items(item), batch_size=None, sampler=indices, num_workers=workers, pin_memory=pin)
