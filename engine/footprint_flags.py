"""The flags by which a step takes less memory.  Imports no torch."""

import argparse
from argparse import Namespace
from typing import Any

from engine.flags import COUNT
from utils.errors import UsageError


def add_footprint(group: Any) -> None:
    group.add_argument(
        "--accumulate", type=COUNT, default=1, metavar="N", help="process each batch in N parts and sum their "
        "gradients: the step of the whole batch, save that batch norm goes by the part; not with --memory"
    )  # fmt: skip
    group.add_argument(
        "--checkpoint_activations",
        action="store_true",
        help="keep only what leaves the backbone's stages, and compute the rest again for the gradient: less memory, "
        "the same step, one more forward pass of the backbone",
    )


def check_footprint(parser: argparse.ArgumentParser, args: Namespace) -> None:
    parts = args.accumulate
    if parts > 1 and args.memory:
        parser.error(
            f"--accumulate {parts}: the memory is written from a whole batch, and losses of it are no sums over parts; "
            "drop --accumulate, and take --checkpoint_activations or more processes"
        )
    if args.bs_mult % parts:
        parser.error(f"--accumulate {parts}: does not divide --bs_mult {args.bs_mult}; give a divisor of that")


def check_passes(args: Namespace, processes: int) -> None:
    """Raise UsageError if a pass, which MLDG may make of a single domain, has one image in all processes."""
    parts = args.accumulate
    domains = 1 if args.mldg or args.image_uniform_sampling else len(args.dataset)
    if args.bs_mult // parts * processes * domains < 2:
        told = f"--bs_mult {args.bs_mult}" + (f" --accumulate {parts}" if parts > 1 else "")
        raise UsageError(f"{told}: batch norm needs two images in every pass; give --bs_mult {2 * parts} or more")
