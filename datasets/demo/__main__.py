"""Draw the demo data: ``python -m datasets.demo ROOT``."""

import argparse
from collections.abc import Sequence

from datasets.demo import FURTHER, LAYOUTS, STYLES, write_demo
from utils.options import ANY, number
from utils.program import run_program


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(
        prog="python -m datasets.demo",
        description="Draw street scenes of the 19 Cityscapes classes in six domains. The domains differ in looks, in "
        "layout and in label encoding, as the real data sets do. The same arguments give the same pixels. A complete "
        "demo is not drawn again, and a folder that holds no demo is never changed.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add, count, side = flags.add_argument, number(int, 0, 10000), number(int, 64, 4096)
    add("root", metavar="ROOT", help="folder for the data sets; use it as --data_root later")
    add("--train", type=count, default=100, metavar="N", help="training images per domain")
    add("--val", type=count, default=20, metavar="N", help="validation images per domain")
    add("--size", type=side, nargs=2, default=(256, 512), metavar=("HEIGHT", "WIDTH"), help="of an image")
    known = STYLES | FURTHER
    drawn = f"data sets to draw; {', '.join(FURTHER)} only if they are named"
    add("--domains", nargs="+", choices=known, default=list(STYLES), metavar="NAME", help=drawn)
    add("--val_only", nargs="+", choices=known, default=[], metavar="NAME", help="the same, without training images")
    add("--seed", type=ANY, default=304, metavar="N", help="another seed gives other scenes")
    add("--layout", choices=LAYOUTS, default="readme", help="folders as in the authors' README or official archives")
    add("--workers", type=count, default=0, metavar="N", help="drawing processes; 0 means one per core")
    return flags


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw what the command line asks for."""
    for home, drawn in write_demo(**vars(parser().parse_args(arguments))).items():
        print(f"{home}: {'drawn' if drawn else 'already there'}")


if __name__ == "__main__":
    run_program("datasets.demo", main)
