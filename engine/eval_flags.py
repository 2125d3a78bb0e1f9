"""The command line of ``eval.py``."""

import argparse
from collections.abc import Sequence

from datasets.specs import SPECS
from engine import flags
from engine.flags import ANY, user_path
from engine.recipes import apply_recipe


def parse_evaluation(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = evaluation_parser()
    args = parser.parse_args(argv)
    flags.check_names(parser, args.dataset)
    return apply_recipe(args)


def evaluation_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="eval.py",
        formatter_class=flags.Formatter,
        allow_abbrev=False,
        description="Score a checkpoint on labelled domains: mIoU and per-class IoU, precision and recall, on screen, "
        "as CSV and as JSON with the protocol inside, in a folder beside the checkpoint.",
    )
    flags.add_recipe(parser)
    group = parser.add_argument_group("what")
    group.add_argument("--snapshot", type=user_path, required=True, metavar="FILE", help="the checkpoint to evaluate")
    group.add_argument("--dataset", nargs="+", default=["cityscapes"], metavar="NAME", help=f"of {', '.join(SPECS)}")
    group.add_argument("--split", default="val", choices=("train", "val", "test"), help="which part of each domain")
    group.add_argument("--limit", type=ANY, default=0, metavar="N", help="at most N images per domain; 0: all")
    group.add_argument("--dump_images", action="store_true", help="also write colours, overlay and errors per image")
    group.add_argument(
        "--out", type=user_path, metavar="DIR", help="where to write (default: a folder beside the snapshot)"
    )
    flags.add_data_root(group)
    flags.add_reading_flags(parser.add_argument_group("protocol"))
    flags.add_machine(parser.add_argument_group("machine"))
    return parser
