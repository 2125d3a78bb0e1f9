"""Make what the data sets need before training: ``python -m datasets.prepare DATA_ROOT``."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from datasets import packed
from datasets.prepare.making import MASK, prepare
from datasets.registry import NAMES, SPECS
from utils.options import COUNT
from utils.processes import own_cores
from utils.program import run_program


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(
        prog="python -m datasets.prepare",
        description=f"Make what a data root lacks. Always: a mask (*{MASK}) beside each of IDD's polygon files. With "
        "--packed: copies that load several times as fast as PNG. Valid files are left alone and originals are never "
        "changed, so an interrupted command is simply repeated.",
    )
    add = flags.add_argument
    add("root", metavar="DATA_ROOT", type=Path, help="the folder that is given as --data_root in training")
    add("--packed", dest="form", nargs="?", const="zstd", choices=packed.FORMS,
        help="lossless copies that train.py and eval.py then read by themselves; zstd: about as large as the PNGs, a "
        "fifth of the time; raw: 4 bytes per pixel, a seventeenth (default without a form: zstd)")  # fmt: skip
    add("--datasets", dest="names", nargs="+", metavar="NAME", default=(),
        help=f"only these of {NAMES} (default: all that are there)")  # fmt: skip
    splits = dict.fromkeys(split for dataset in SPECS.values() for split in dataset.splits)
    add("--splits", nargs="+", choices=splits, default=("train", "val"), help="for --packed (default: train val)")
    add("--gtav_labels", choices=tuple(SPECS["gtav"].tables), default="ids", help="as in training (default: ids)")
    add("--num_workers", "--workers", dest="workers", type=COUNT, default=own_cores(), metavar="N",
        help="processes (default: %(default)s)")  # fmt: skip
    return flags


def main(arguments: Sequence[str] | None = None) -> None:
    """Make what the command line asks for."""
    prepare(**vars(parser().parse_args(arguments)))


if __name__ == "__main__":
    run_program("datasets.prepare", main)
