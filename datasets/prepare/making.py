"""Masks of polygons and packed copies, made in parallel, each whole or not at all, and only if they are missing."""

import os
import shutil
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from multiprocessing import get_context, parent_process
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from datasets import packed
from datasets.decoding import read_pair
from datasets.disk.polygons import rasterise
from datasets.registry import DatasetSpec, Sample
from utils.errors import UsageError
from utils.files import PARTIAL, whole_file
from utils.log import log

POLYGONS, MASK = "_gtFine_polygons.json", "_gtFine_labelcsTrainIds.png"
TRIALS = 6  # files that are made in memory to estimate the space of all
MARGIN = 1.15
SHOWN = 10  # errors that are printed in full


@dataclass(frozen=True)
class Mask:
    """The label image of a file of polygons, where the authors' release expects it."""

    polygons: Path

    @property
    def target(self) -> Path:
        return self.polygons.with_name(self.polygons.name.removesuffix(POLYGONS) + MASK)

    def is_made(self) -> bool:
        return self.target.exists()  # also if the owners' script made it

    def encode(self) -> bytes:
        buffer = BytesIO()
        Image.fromarray(rasterise(self.polygons)).save(buffer, "png")
        return buffer.getvalue()


@dataclass(frozen=True)
class Copy:
    """A packed copy of an image and its label."""

    root: Path  # of the data
    home: Path  # the data root of the copies
    spec: DatasetSpec
    sample: Sample
    form: str

    @property
    def target(self) -> Path:
        return packed.location(self.home, self.root, self.spec, self.sample)

    def is_made(self) -> bool:
        try:
            return packed.description(self.target) == self._description()
        except UsageError:  # an original cannot be reached; ``encode`` raises the same error
            return False

    def encode(self) -> bytes:
        image, label = read_pair(self.spec, self.sample)
        return packed.encode(image, label, form=self.form, description=self._description())

    def _description(self) -> str:
        return packed.describe(packed.facts(self.root, self.sample), form=self.form)


Product = Mask | Copy


def produce(title: str, products: Sequence[Product], home: Path, workers: int) -> list[str]:
    """Make the missing products, if the disk has room for them.

    Returns a line about those that could not be made, or nothing.
    """
    with ThreadPoolExecutor(8) as threads:  # they mostly wait for the disk
        made = threads.map(lambda product: product.is_made(), products)
        todo = [product for product, is_made in zip(products, made, strict=True) if not is_made]
    there = len(products) - len(todo)
    if not todo:
        log.info(f"{title}: nothing to do, {there:,} are there")
        return []
    needed, free = bytes_needed(todo), shutil.disk_usage(home).free
    space = f"about {needed / 1e9:.3f} of {free / 1e9:.3f} GB free"
    if needed > free:
        raise UsageError(f"{home}: {space}: make room there, or name a folder on another disk with --out")
    log.info(f"{title}: {len(todo):,} to make, {there:,} are there; {space}")
    for folder in {product.target.parent for product in todo}:
        for path in folder.glob(f".*{PARTIAL}"):  # of a process that was killed; no other works here (see ``lock``)
            path.unlink()
    errors = make(todo, workers=workers, title=title)
    for error in errors[:SHOWN]:
        log.warning(f"not made: {error}")
    return [f"{title}: {len(errors):,} of {len(todo):,} could not be made"] if errors else []


def bytes_needed(products: Sequence[Product]) -> int:
    """An estimate from a few evenly spaced products, with a margin."""
    count, total = min(TRIALS, len(products)), 0
    for index in range(count):
        with suppress(UsageError):  # reported when all are made
            total += len(products[index * len(products) // count].encode())
    return int(MARGIN * total / count * len(products))


def make(products: Sequence[Product], *, workers: int, title: str) -> list[str]:
    """Make the files; returns the errors of those that could not be made."""
    progress = {"total": len(products), "desc": title, "unit": "file"}
    if min(workers, len(products)) <= 1:
        return [error for error in tqdm(map(_make, products), **progress) if error]
    # Fresh processes: a fork of a process that has used torch may hang.
    pool = ProcessPoolExecutor(min(workers, len(products)), get_context("spawn"), _begin_worker)
    try:
        return [error for error in tqdm(pool.map(_make, products), **progress) if error]
    except BrokenProcessPool as error:
        raise UsageError(f"--workers {workers}: a process died, perhaps of too little memory: use fewer") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _make(product: Product) -> str:
    """Make a file; returns the error if its originals are broken.  A full disk raises, and so ends everything."""
    try:
        data = product.encode()
    except UsageError as error:
        return str(error)
    write(product.target, data)
    return ""


def write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; UsageError if that is impossible."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial:
            partial.write_bytes(data)
    except OSError as error:
        remedy = "make room, or make that folder writable, or name another one with --out, and repeat the command"
        raise UsageError(f"{path}: cannot be written ({error.strerror}): {remedy}") from error


def _begin_worker() -> None:
    """Leave Ctrl-C to the main process, and end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_main, daemon=True).start()


def _end_with_main() -> None:
    parent_process().join()
    os._exit(1)


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Keep other processes with the same lock out; without effect where the file system has no locks."""
    import fcntl  # Windows has none, and --help should work there

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(f"{folder}: another datasets.prepare is at work there: wait for it to end") from error
    except OSError:  # no locks there
        pass
    try:
        yield
    finally:
        os.close(handle)
