"""Masks of polygons and packed copies, each made whole or not at all, and only if it is missing."""

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from tqdm import tqdm

from datasets import packed
from datasets.decoding import read_pair
from datasets.disk.layouts import folders_named
from datasets.disk.polygons import rasterise
from datasets.own.custom import is_custom, lasting_name
from datasets.registry import SPECS, DatasetSpec, Sample, check_name, spec
from utils.errors import UsageError
from utils.files import whole_file
from utils.log import log

POLYGONS, MASK = "_gtFine_polygons.json", "_gtFine_labelcsTrainIds.png"
TRIALS = 6  # files that are made in memory to estimate the space of all
MARGIN = 1.15
SHOWN = 10  # errors that are printed in full


class Product(NamedTuple):
    """A file that is made from others."""

    target: Path
    encode: Callable[[], bytes]  # UsageError if an original is broken
    is_made: bool


def mask(polygons: Path) -> Product:
    """The label image of a file of polygons, where the authors' release expects it; the owners' script makes it too."""
    target = polygons.with_name(polygons.name.removesuffix(POLYGONS) + MASK)
    return Product(target, partial(mask_bytes, polygons), target.exists())


def mask_bytes(polygons: Path) -> bytes:
    buffer = BytesIO()
    Image.fromarray(rasterise(polygons)).save(buffer, "png")
    return buffer.getvalue()


def packed_copy(root: Path, dataset: DatasetSpec, form: str, sample: Sample) -> Product:
    """A packed copy of an image and its label."""
    target = packed.location(root, dataset, sample)
    encode = partial(copy_bytes, root, dataset, form, sample)
    with suppress(UsageError):  # an original cannot be reached; ``encode`` raises the same error
        is_made = packed.description(target) == packed.describe(packed.facts(root, sample), form=form)
        return Product(target, encode, is_made)
    return Product(target, encode, False)


def copy_bytes(root: Path, dataset: DatasetSpec, form: str, sample: Sample) -> bytes:
    description = packed.describe(packed.facts(root, sample), form=form)
    return packed.encode(*read_pair(dataset, sample), form=form, description=description)


def prepare(
    root: Path, *, names: Sequence[str], splits: Sequence[str], gtav_labels: str, form: str | None, workers: int
) -> None:
    """Make masks, then packed copies in ``form``, which may need the masks.

    UsageError if some could not be made, after all others were made.
    """
    root = root.expanduser()
    for name in names:
        check_name(name)
    names = [lasting_name(name, root) if is_custom(name) else name for name in names]
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder: name the folder that holds the data sets")
    if form == "zstd" and not packed.can_zstd():
        raise UsageError("--packed zstd: this Pillow was built without it: install a newer one, or use --packed raw")
    broken: list[str] = []
    for dataset in SPECS.values():
        if dataset.polygons and dataset.name in (names or SPECS):
            folders = folders_named(root, dataset.folders)  # other data sets have files with the same ending
            masks = [mask(path) for folder in folders for path in sorted(folder.rglob(f"*{POLYGONS}"))]
            broken += produce(f"masks of {dataset.name}", masks, root, workers)
    if form:
        present = names or [name for name, entry in SPECS.items() if folders_named(root, entry.folders)]
        if not present:
            raise UsageError(f"{root}: no data set there: see docs/datasets.md")
        datasets = [spec(name, gtav_labels=gtav_labels) for name in present]
        listed = [(dataset, samples_of(dataset, root, splits, named=bool(names))) for dataset in datasets]
        for dataset, samples in listed:
            broken += pack(dataset, samples, dataset.base(root), form, workers) if samples else []
    if broken:
        raise UsageError(f"{', '.join(broken)}: mend those files, then repeat")


def samples_of(dataset: DatasetSpec, root: Path, splits: Sequence[str], *, named: bool) -> list[Sample]:
    """The images of all splits that are there; UsageError if the user named a data set that has none."""
    samples, errors = [], []
    for split in splits:
        try:
            samples += dataset.pairs(root, split)
        except UsageError as error:
            errors.append(error)
    if named and not samples:
        raise errors[0]
    for error in errors:
        log.info(f"left out: {error}")
    return samples


def pack(dataset: DatasetSpec, samples: Sequence[Sample], root: Path, form: str, workers: int) -> list[str]:
    """Make the copies and enter them into their index, also if making them was interrupted."""
    copy = partial(packed_copy, root, dataset, form)
    try:
        with ThreadPoolExecutor(8) as threads:  # they mostly wait for the disk
            copies = list(threads.map(copy, samples))
        return produce(f"copies of {dataset.name}", copies, root, workers)
    finally:
        if made := [packed.facts(root, sample) for sample in samples if copy(sample).is_made]:
            folder = packed.home(root, dataset)
            write(folder / packed.INDEX, packed.extended_index(folder, {facts[0][0]: facts for facts in made}))


def produce(title: str, products: Sequence[Product], root: Path, workers: int) -> list[str]:
    """Make the missing products, if the disk has room for them.

    Returns a line about those that could not be made, or nothing.
    """
    todo = [product for product in products if not product.is_made]
    if not todo:
        log.info(f"{title}: nothing to do, {len(products):,} are there")
        return []
    needed, free = bytes_needed(todo), shutil.disk_usage(root).free
    space = f"about {needed / 1e9:.3f} of {free / 1e9:.3f} GB free"
    if needed > free:
        raise UsageError(f"{root}: {space}: make room there, or prepare links to the data on another disk")
    log.info(f"{title}: {len(todo):,} to make, {len(products) - len(todo):,} are there; {space}")
    from datasets.sampling.worker_loader import one_by_one  # imports torch, for which --help should not wait

    made_now = one_by_one(partial(_make, todo), range(len(todo)), workers if workers > 1 else 0)
    errors = [error for error in tqdm(made_now, title, unit="file") if error]
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


def _make(products: Sequence[Product], index: int) -> str:
    """Make a file; returns the error if its originals are broken.  A full disk raises, and so ends everything."""
    try:
        data = products[index].encode()
    except UsageError as error:
        return str(error)
    write(products[index].target, data)
    return ""


def write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write_bytes(data)
