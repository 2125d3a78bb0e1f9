"""Data loaders that answer a mistake with one line and leave signals to the main process."""

import signal
from collections.abc import Iterator, Sequence

from torch.utils.data import DataLoader, Dataset

from utils.errors import UsageError, first_line


def _leave_signals_to_main(worker: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


class Loader(DataLoader):
    """A loader that lets its workers go when one of them meets a mistake of the user.

    The workers leave it to the main process to answer Ctrl-C and SIGTERM, which often reach the whole group.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, worker_init_fn=_leave_signals_to_main, **kwargs)

    def __iter__(self) -> Iterator:
        batches = super().__iter__()
        try:
            yield from batches
            return
        except UsageError as error:
            message = str(error)
            # The error that was passed on refers to itself by its traceback and so keeps the workers: exit would wait
            # for them for seconds.
            error.__traceback__ = None
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker"):
                raise
            message = (
                f"--num_workers {self.num_workers}: a process that loads data died ({first_line(error)}); give the "
                "machine or container more memory (docker: --ipc=host), or use fewer, 0 for none"
            )
        finally:
            # Workers ignore SIGTERM, so exit would wait for ever for those of an iterator that an error keeps alive.
            getattr(batches, "_shutdown_workers", lambda: None)()
        raise UsageError(message)


def one_by_one(data: Dataset, indices: Sequence[int] | None, workers: int) -> DataLoader:
    """The items of ``data`` in order, or those with ``indices``, each alone."""
    return Loader(data, batch_size=None, sampler=indices, num_workers=workers)
