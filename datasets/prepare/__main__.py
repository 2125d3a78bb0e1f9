"""Make what the data sets need before training: ``python -m datasets.prepare DATA_ROOT``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

from datasets import packed
from datasets.own.custom import is_custom, lasting_name
from datasets.prepare.making import Product, alone, bytes_needed, check_space, gigabytes, make, missing, write_whole
from datasets.prepare.products import MASK, POLYGONS, Copy, Mask, TrainIds
from datasets.registry import SPECS, DatasetSpec, Sample, check_name, spec
from utils.errors import UsageError

IDD_FOLDERS = ("idd", "idd_segmentation", "idd20kii")
SHOWN = 10  # problems that are told in full


def parser() -> argparse.ArgumentParser:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    flags = argparse.ArgumentParser(
        prog="python -m datasets.prepare",
        description=f"Make what a data root lacks. Always: a mask (*{MASK}) beside each of IDD's polygon files. On "
        "demand: labels as train ids, and packed copies, which load several times as fast as PNG. What is there "
        "and valid is left alone and originals are never changed, so an interrupted command is simply repeated.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = flags.add_argument
    add("root", metavar="DATA_ROOT", type=Path, help="the folder that is given as --data_root in training")
    add("--packed", nargs="?", const="zstd", choices=packed.FORMS, default=argparse.SUPPRESS,
        help="lossless copies that train.py and eval.py then read by themselves; zstd: about as large as the PNGs, a "
        "fifth of the time; raw: 4 bytes per pixel, a seventeenth")  # fmt: skip
    add("--train_ids", action="store_true", help="8-bit label images of the 19 train ids (255: ignore), in train_ids/")
    add("--datasets", nargs="+", metavar="NAME", default=argparse.SUPPRESS,
        help=f"only these of {', '.join(SPECS)}, or custom:PATH; default: all that are found")  # fmt: skip
    add("--splits", nargs="+", metavar="SPLIT", default=["train", "val"], help="for --packed and --train_ids")
    add("--gtav_labels", choices=("ids", "colour"), default="ids", help="as in training")
    add("--out", type=Path, metavar="DIR", default=argparse.SUPPRESS,
        help="make nothing below DATA_ROOT but everything in DIR, to be given as --data_root then: DIR gets links to "
        "the data sets; no masks are made")  # fmt: skip
    add("--workers", type=int, default=cores, metavar="N", help="processes")
    return flags


def main(arguments: Sequence[str] | None = None) -> int:
    """Make what the command line asks for; 2 after a mistake of the user."""
    flags = parser()
    args = flags.parse_args(arguments, argparse.Namespace(packed=None, datasets=None, out=None))
    if args.workers < 1:
        flags.error(f"--workers {args.workers}: at least 1")
    if args.out and not (args.packed or args.train_ids):
        flags.error("--out needs --packed or --train_ids: masks are made beside the polygons of IDD only")
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        prepare(args)
    except UsageError as error:
        print(f"datasets.prepare: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("datasets.prepare: interrupted: repeat the command to go on", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def prepare(args: argparse.Namespace) -> None:
    """Make masks, then labels, then copies, which may need what was made before."""
    root = args.root.expanduser()
    args.datasets = args.datasets and own_names(args, root)
    home = args.out.expanduser() if args.out else root
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder: name the folder that holds the data sets")
    if args.packed == "zstd" and not packed.can_zstd():
        raise UsageError("--packed zstd: this Pillow was built without it: install a newer one, or use --packed raw")
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{home}: cannot be made ({error.strerror}): name another folder with --out") from error
    with alone(home):
        broken: list[str] = []
        if not args.out and "idd" in (args.datasets or SPECS):
            broken += produce("masks of idd", [Mask(path) for path in sorted(polygons(root))], home, args.workers)
        if args.packed or args.train_ids:
            for row, samples in found(args, root):
                broken += make_for(args, row, samples, row.base(root), row.base(home))
        if broken:
            raise UsageError(f"{', '.join(broken)}: mend those files, then repeat")


def own_names(args: argparse.Namespace, root: Path) -> list[str]:
    """The names of the data sets; what is made of one's own lies in its own folder."""
    for name in args.datasets:
        check_name(name)
        if args.out and is_custom(name):
            raise UsageError(f"--out {args.out}: what is made of {name} lies in its own folder; leave --out away")
    return [lasting_name(name, root) if is_custom(name) else name for name in args.datasets]


def polygons(root: Path) -> Iterator[Path]:
    """The polygon files of IDD, whose name those of Cityscapes share."""
    for folder in root.iterdir():
        if folder.name.lower() in IDD_FOLDERS and folder.is_dir():
            yield from folder.rglob(f"*{POLYGONS}")


def found(args: argparse.Namespace, root: Path) -> list[tuple[DatasetSpec, list[Sample]]]:
    """The data sets with their images of all splits; what is missing is told, or an error if it was asked for."""
    rows = [spec(name, gtav_labels=args.gtav_labels) for name in args.datasets or SPECS]
    known = dict.fromkeys(split for row in SPECS.values() for split in row.splits)
    if unknown := [split for split in args.splits if split not in known]:
        raise UsageError(f"--splits {unknown[0]}: no such split: choose from {', '.join(known)}")
    pairs, absent = [], []
    for row in rows:
        samples, problems = [], []
        for split in args.splits:
            try:
                samples += row.pairs(root, split)
            except UsageError as error:
                problems.append(error)
        if problems and not samples and args.datasets:
            raise problems[0]
        for problem in problems if samples else ():
            print(f"left out: {problem}")
        (pairs if samples else absent).append((row, samples))
    if not pairs:
        raise UsageError(
            f"{root}: none of {', '.join(row.name for row in rows)} has images there: see docs/datasets.md"
        )
    if absent:
        print(f"not found, or without labels: {', '.join(row.name for row, _ in absent)} (name one to be told why)")
    return pairs


def make_for(args: argparse.Namespace, row: DatasetSpec, samples: list[Sample], root: Path, home: Path) -> list[str]:
    """Make labels and copies of one data set; what of them could not be made."""
    broken: list[str] = []
    if home != root:
        link(root, home, samples)
    if args.train_ids:
        labels = [TrainIds(root, home, row, sample) for sample in samples]
        broken += produce(f"train ids of {row.name}", labels, home, args.workers)
    if args.packed:
        copies = [Copy(root, home, row, sample, args.packed) for sample in samples]
        with indexed(home, row, copies):
            broken += produce(f"copies of {row.name}", copies, home, args.workers)
    return broken


@contextmanager
def indexed(home: Path, row: DatasetSpec, copies: list[Copy]) -> Iterator[None]:
    """Enter the copies into the index once they are made, also those of a command that found some broken files."""
    try:
        yield
    finally:
        folder = packed.home(home, row)
        made = {copy.facts[0][0]: copy.facts for copy in copies if copy.is_made()}
        path, index = folder / packed.INDEX, packed.new_index(folder, made)
        if made and not (path.exists() and path.read_bytes() == index):
            write_whole(path, index)


def link(root: Path, home: Path, samples: list[Sample]) -> None:
    """Give ``home`` a link to each folder of ``root`` that holds samples, so that it is a data root too."""
    for name, _ in groupby(sample.image.relative_to(root).parts[0] for sample in samples):
        there, wanted = home / name, (root / name).resolve()
        if there.resolve() == wanted and there.exists():
            continue
        if there.exists() or there.is_symlink():
            raise UsageError(f"{there}: is not {wanted}, to which a link is needed there: name another --out")
        there.symlink_to(wanted, target_is_directory=True)


def produce(what: str, products: Sequence[Product], home: Path, workers: int) -> list[str]:
    """Make what is missing of the products, after the space that it takes was told and is known to be there.

    Returns a line about those that could not be made, if there are any.
    """
    todo = missing(products)
    there = len(products) - len(todo)
    if not todo:
        print(f"{what}: nothing to do, {there:,} are there")
        return []
    needed = bytes_needed(todo)
    free = check_space(home, needed)
    print(f"{what}: {len(todo):,} to make, {there:,} are there; about {gigabytes(needed)} of {gigabytes(free)} free")
    problems = make(todo, workers=workers, what=what)
    for problem in problems[:SHOWN]:
        print(f"not made: {problem}", file=sys.stderr)
    return [f"{what}: {len(problems):,} of {len(todo):,} could not be made"] if problems else []


if __name__ == "__main__":
    sys.exit(main())
