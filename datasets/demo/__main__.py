"""Draw the demo data: ``python -m datasets.demo ROOT``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from datasets.demo import STYLES, write_demo
from utils.errors import UsageError


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(
        prog="python -m datasets.demo",
        description="Draw street scenes of the 19 Cityscapes classes in six domains that differ as real data sets do, "
        "in their folder layouts and label encodings. The same arguments give the same pixels; what is already there "
        "is left alone, and a folder that is not a demo is never touched.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    flags.add_argument(
        "root", metavar="ROOT", help="where the data sets' folders are made; give it as --data_root later"
    )
    flags.add_argument("--train", type=_count, default=100, metavar="N", help="training images per domain")
    flags.add_argument("--val", type=_count, default=20, metavar="N", help="validation images per domain")
    flags.add_argument(
        "--size", type=_side, nargs=2, default=(256, 512), metavar=("HEIGHT", "WIDTH"), help="image size"
    )
    flags.add_argument(
        "--domains", nargs="+", choices=tuple(STYLES), default=tuple(STYLES), metavar="NAME", help="which data sets"
    )
    flags.add_argument("--seed", type=_count, default=304, help="another seed draws other scenes")
    flags.add_argument("--workers", type=_count, default=0, metavar="N", help="processes that draw; 0: one per core")
    return flags


def _count(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 10000:
        raise argparse.ArgumentTypeError(f"{number}: expected 0 to 10000")
    return number


def _side(text: str) -> int:
    number = int(text)
    if not 64 <= number <= 4096:
        raise argparse.ArgumentTypeError(f"{number}: expected 64 to 4096 pixels")
    return number


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw what the command line asks for; 2 after a mistake of the user."""
    flags = parser().parse_args(arguments)
    choice = {
        "domains": flags.domains,
        "train": flags.train,
        "val": flags.val,
        "size": tuple(flags.size),
        "seed": flags.seed,
    }
    try:
        for home, drawn in write_demo(flags.root, **choice, workers=flags.workers).items():
            print(f"{home}: {'drawn' if drawn else 'already there'}")
    except UsageError as error:
        print(f"datasets.demo: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
