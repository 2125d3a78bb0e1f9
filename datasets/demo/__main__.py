"""Draw the demo data: ``python -m datasets.demo ROOT``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from datasets.demo import LAYOUTS, STYLES, write_demo
from utils.errors import UsageError


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(
        prog="python -m datasets.demo",
        description="Draw street scenes of the 19 Cityscapes classes in six domains. The domains differ in looks, in "
        "layout and in label encoding, as the real data sets do. The same arguments give the same pixels. A complete "
        "demo is not drawn again, and a folder that holds no demo is never changed.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add, count = flags.add_argument, _between(0, 10000)
    add("root", metavar="ROOT", help="folder for the data sets; use it as --data_root later")
    add("--train", type=count, default=100, metavar="N", help="training images per domain")
    add("--val", type=count, default=20, metavar="N", help="validation images per domain")
    add("--size", type=_between(64, 4096), nargs=2, default=(256, 512), metavar=("HEIGHT", "WIDTH"), help="of an image")
    add("--domains", nargs="+", choices=STYLES, default=list(STYLES), metavar="NAME", help="data sets to draw")
    add("--val_only", nargs="+", choices=STYLES, default=[], metavar="NAME", help="the same, without training images")
    add("--seed", type=_between(0, 2**32 - 1), default=304, metavar="N", help="another seed gives other scenes")
    add("--layout", choices=LAYOUTS, default="readme", help="that of the authors' README or of the official archives")
    add("--workers", type=count, default=0, metavar="N", help="drawing processes; 0 means one per core")
    return flags


def _between(low: int, high: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text}: expected {low} to {high}")
        return int(text)

    return number


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw what the command line asks for. Return 2 after a mistake of the user."""
    choice = vars(parser().parse_args(arguments))
    root, size = choice.pop("root"), tuple(choice.pop("size"))
    try:
        for home, drawn in write_demo(root, size=size, **choice).items():
            print(f"{home}: {'drawn' if drawn else 'already there'}")
    except UsageError as error:
        print(f"datasets.demo: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
