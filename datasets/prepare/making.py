"""Files that are made of other files: in parallel, each in full or not at all, and not again if they are there."""

import errno
import os
import shutil
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Protocol

from tqdm import tqdm

from utils.errors import UsageError

TRIALS = 6  # files that are made in memory to tell how much space all will take
MARGIN = 1.15
AHEAD = 4  # files waiting for each process
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Product(Protocol):
    """A file to be made."""

    @property
    def target(self) -> Path: ...

    def is_made(self) -> bool:
        """Whether it is there, and made of what is there now."""
        ...

    def encode(self) -> bytes:
        """Its bytes, always the same ones; UsageError if it cannot be made."""
        ...


def missing(products: Sequence[Product]) -> list[Product]:
    """Those that have to be made."""
    with ThreadPoolExecutor(8) as threads:
        made = threads.map(lambda product: product.is_made(), products)
        return [product for product, is_made in zip(products, made, strict=True) if not is_made]


def bytes_needed(products: Sequence[Product]) -> int:
    """About how many bytes they will take: that of a few, evenly spaced, with a margin; broken ones count nothing."""
    count = min(TRIALS, len(products))
    sizes = [_size(products[index * len(products) // count]) for index in range(count)]
    return int(MARGIN * sum(sizes) / count * len(products)) if count else 0


def _size(product: Product) -> int:
    try:
        return len(product.encode())
    except UsageError:  # told when all are made
        return 0


def check_space(folder: Path, needed: int) -> int:
    """The free bytes where ``folder`` is or will be; UsageError if they are fewer than needed."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise UsageError(
            f"{folder}: about {gigabytes(needed)} are needed and {gigabytes(free)} are free: make room there, or name "
            "a folder on another disk with --out"
        )
    return free


def gigabytes(count: int) -> str:
    """Bytes in words."""
    return f"{count / 1e9:.2f} GB" if count >= 1e7 else f"{count / 1e6:.2f} MB"


def make(products: Sequence[Product], *, workers: int, what: str) -> list[str]:
    """Make the files, and tell what is wrong with those that could not be made."""
    results = _results(products, min(workers, len(products)))
    return [problem for problem in tqdm(results, total=len(products), desc=what, unit="file") if problem]


def write_whole(path: Path, data: bytes) -> None:
    """Write a file in full or not at all; what an interrupted write left is written over."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(data)
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        elsewhere = "make that folder writable, or name another one with --out"
        remedy = "make room and repeat the command" if error.errno in _FULL else elsewhere
        raise UsageError(f"{path}: cannot be written ({error.strerror}): {remedy}") from error


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other processes that do the same from ``folder`` meanwhile, where the file system can lock folders."""
    import fcntl  # not on every system on which --help is read

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(f"{folder}: another datasets.prepare is at work there: wait for it to end") from error
    except OSError:
        pass  # no locks there
    try:
        yield
    finally:
        os.close(handle)


def _make(product: Product) -> str:
    """Make the file and tell what is wrong with what it is made of; a disk that is full ends everything."""
    try:
        data = product.encode()
    except UsageError as error:
        return str(error)
    write_whole(product.target, data)
    return ""


def _results(products: Sequence[Product], workers: int) -> Iterator[str]:
    if workers <= 1:
        yield from map(_make, products)
        return
    # Fresh processes: a fork of a process that has used torch may hang.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _begin_worker)
    queue, waiting = iter(products), set()
    try:
        while waiting := waiting | _submit(pool, islice(queue, AHEAD * workers - len(waiting))):
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    except BrokenProcessPool as error:
        raise UsageError(
            f"--workers {workers}: a process died, perhaps for want of memory: use fewer and repeat the command"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, products: Iterable[Product]) -> set[Future]:
    return {pool.submit(_make, product) for product in products}


def _begin_worker() -> None:
    """Leave Ctrl-C to the main process, and end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_main, daemon=True).start()


def _end_with_main() -> None:
    parent_process().join()
    os._exit(1)
