"""The flags by which a step takes less memory.  Imports no torch."""

import argparse
from argparse import Namespace
from typing import Any

from engine.options.flags import COUNT, add_switch
from utils.processes import world_size


def add_footprint(group: Any) -> None:
    group.add_argument(
        "--accumulate", type=COUNT, default=1, metavar="N", help="process each batch in N parts and sum their "
        "gradients: the step of the whole batch, save that batch norm goes by the part; not with --memory"
    )  # fmt: skip
    add_switch(
        group,
        "--checkpoint_activations",
        "keep only what leaves the backbone's stages, and compute the rest again for the gradient: less memory, "
        "the same step, one more forward pass of the backbone, which --compile leaves as it is then",
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
    domains = 1 if args.mldg or args.image_uniform_sampling else len(args.dataset)  # MLDG may pass over a single one
    if args.bs_mult // parts * world_size() * domains < 2:
        told = f"--bs_mult {args.bs_mult}" + (f" --accumulate {parts}" if parts > 1 else "")
        parser.error(f"{told}: batch norm needs two images in every pass; give --bs_mult {2 * parts} or more")
    if args.compile and world_size() > 1:
        parser.error("--compile: is made for a single process, whose batch norms need no messages; give --no-compile")
