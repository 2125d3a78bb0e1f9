"""Masks of polygons and packed copies, each made whole or not at all, and only if it is missing."""

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path

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
    spec: DatasetSpec
    sample: Sample
    form: str

    @property
    def target(self) -> Path:
        return packed.location(self.root, self.spec, self.sample)

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
            masks = [Mask(path) for folder in folders for path in sorted(folder.rglob(f"*{POLYGONS}"))]
            broken += produce(f"masks of {dataset.name}", masks, root, workers)
    if form:
        present = names or [name for name, entry in SPECS.items() if folders_named(root, entry.folders)]
        if not present:
            raise UsageError(f"{root}: no data set there: see docs/datasets.md")
        datasets = [spec(name, gtav_labels=gtav_labels) for name in present]
        listed = [(dataset, samples_of(dataset, root, splits, named=bool(names))) for dataset in datasets]
        for dataset, samples in listed:
            copies = [Copy(dataset.base(root), dataset, sample, form) for sample in samples]
            broken += pack(dataset, copies, dataset.base(root), workers) if copies else []
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


def pack(dataset: DatasetSpec, copies: Sequence[Copy], root: Path, workers: int) -> list[str]:
    """Make the copies and enter them into their index, also if making them was interrupted."""
    try:
        return produce(f"copies of {dataset.name}", copies, root, workers)
    finally:
        made = [packed.facts(root, copy.sample) for copy in copies if copy.is_made()]
        if made:
            folder = packed.home(root, dataset)
            write(folder / packed.INDEX, packed.extended_index(folder, {facts[0][0]: facts for facts in made}))


def produce(title: str, products: Sequence[Product], root: Path, workers: int) -> list[str]:
    """Make the missing products, if the disk has room for them.

    Returns a line about those that could not be made, or nothing.
    """
    with ThreadPoolExecutor(8) as threads:  # they mostly wait for the disk
        made = list(threads.map(lambda product: product.is_made(), products))
    todo = [product for product, is_made in zip(products, made, strict=True) if not is_made]
    if not todo:
        log.info(f"{title}: nothing to do, {len(products):,} are there")
        return []
    needed, free = bytes_needed(todo), shutil.disk_usage(root).free
    space = f"about {needed / 1e9:.3f} of {free / 1e9:.3f} GB free"
    if needed > free:
        raise UsageError(f"{root}: {space}: make room there, or prepare links to the data on another disk")
    log.info(f"{title}: {len(todo):,} to make, {sum(made):,} are there; {space}")
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
    """Write a file whole or not at all; UsageError if that is impossible."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            file.write_bytes(data)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror}): mend that, and repeat the command") from error
