"""Data loaders that answer a mistake with one line and leave signals to the main process."""

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess

from torch.utils.data import DataLoader, Dataset

from utils.errors import UsageError


def _leave_signals_to_main(worker: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


class WorkerDied(Exception):  # noqa: N818 (told as a ``UsageError``)
    """A process that loads data ended by a signal or with an error code."""


def _fates(workers: Sequence[BaseProcess]) -> list[str]:
    """How those ended that did not end in order."""
    codes = [worker.exitcode for worker in workers if worker.exitcode]
    return [f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}" for code in codes]


@contextmanager
def _deaths_told(workers: Sequence[BaseProcess]) -> Iterator[None]:
    """Within this context the death of a worker raises ``WorkerDied`` at once, from then on not at all.

    Torch would raise wherever the main process is, and in the middle of a step that leaves weights neither old nor new.
    """
    if not workers or threading.current_thread() is not threading.main_thread():  # elsewhere there are no handlers
        yield
        return

    def look(*_: object) -> None:
        if _fates(workers):
            raise WorkerDied

    signal.signal(signal.SIGCHLD, look)
    try:
        look()  # one may have died before
        yield
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


class Loader(DataLoader):
    """A loader that tells mistakes of the user and the death of a worker in one line, and then lets its workers go.

    The workers leave it to the main process to answer Ctrl-C and SIGTERM, which often reach the whole group.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, worker_init_fn=_leave_signals_to_main, **kwargs)

    def __iter__(self) -> Iterator:
        batches, end = super().__iter__(), object()
        workers = getattr(batches, "_workers", ())
        try:
            while True:
                with _deaths_told(workers):
                    batch = next(batches, end)
                if batch is end:
                    return
                yield batch
        except UsageError as error:
            message = str(error)
            # The error that was passed on refers to itself by its traceback and so keeps the workers: exit would wait
            # for them for seconds.
            error.__traceback__ = None
        except Exception:
            if not (fates := _fates(workers)):
                raise
            message = (
                f"--num_workers {self.num_workers}: a process that loads data died ({fates[0]}); give the machine or "
                "container more memory (docker: --ipc=host), or use fewer, 0 for none"
            )
            for worker in workers:  # the others may wait for what it held
                worker.kill()
        finally:
            # Workers ignore SIGTERM, so exit would wait for ever for those of an iterator that an error keeps alive.
            getattr(batches, "_shutdown_workers", lambda: None)()
        raise UsageError(message)


def one_by_one(data: Dataset, indices: Sequence[int] | None, workers: int) -> DataLoader:
    """The items of ``data`` in order, or those with ``indices``, each alone."""
    return Loader(data, batch_size=None, sampler=indices, num_workers=workers)
