"""The flags of RobustNet's whitening, and what follows from them.  Imports no torch."""

import argparse
from argparse import Namespace
from typing import Any

from engine.options.flags import ANY, COUNT, WEIGHT
from utils.packages import need_kmeans
from utils.processes import world_size

WHITENED = (1, 2)  # the numbers of --wt_layer whose layers a loss whitens
SELECTIVE = 2  # the one that whitens selected entries


def add_whitening(group: Any) -> None:
    group.add_argument("--wt_reg_weight", type=WEIGHT, default=0.0, metavar="W", help="weight of the whitening loss")
    group.add_argument(
        "--relax_denom",
        type=WEIGHT,
        default=0.0,
        metavar="D",
        help="--wt_layer 1 tolerates covariances of 1/D on average, 2 spares one entry in D; 0: neither",
    )
    group.add_argument(
        "--clusters", type=ANY, default=50, metavar="K", help="k-means clusters of the covariance entries by how much "
        "they change with the colours, of which --wt_layer 2 spares the lowest"
    )  # fmt: skip
    group.add_argument(
        "--cov_stat_epoch", type=ANY, default=0, metavar="N",
        help="the epoch, from 0, at whose end --wt_layer 2 selects covariance entries; it whitens from then on",
    )  # fmt: skip
    group.add_argument("--dynamic", action="store_true", help="select anew after every N + 1 epochs")
    group.add_argument(
        "--trials", type=ANY, default=10, metavar="N", help="passes over the images of each data set below; what "
        "all of them select is whitened"
    )  # fmt: skip
    group.add_argument(
        "--covstat_val_dataset",
        nargs="+",
        metavar="NAME",
        help="data sets by whose images entries are selected (default: the sources)",
    )
    group.add_argument(
        "--covstat_images", type=COUNT, default=500, metavar="N", help="so many of each, of its validation images"
    )


def check_whitening(parser: argparse.ArgumentParser, args: Namespace) -> None:
    args.covstat_val_dataset = list(dict.fromkeys(args.covstat_val_dataset or args.dataset))
    if args.wt_reg_weight and not whitens(args):
        parser.error("--wt_reg_weight changes nothing without --wt_layer 1 or 2: add that, or drop --wt_reg_weight")
    if args.dynamic and not selects(args):
        parser.error("--dynamic changes nothing without --wt_layer 2 and --wt_reg_weight: add these, or drop --dynamic")
    if whitens(args) and 0 < args.relax_denom <= 1:
        parser.error(f"--relax_denom {args.relax_denom:g}: leaves nothing to whiten; give more than 1, or 0 for none")
    if selects(args) and not args.trials:
        parser.error("--trials 0: --wt_layer 2 must select its entries at least once; give 1 or more")
    if clustered(args) and args.clusters < 2:
        parser.error(f"--clusters {args.clusters}: --wt_layer 2 spares one cluster; give at least 2, or --relax_denom")
    if clustered(args):
        need_kmeans()  # which is wanted only once the first epochs are over


def whitens(args: Namespace) -> bool:
    """Whether there is a whitening loss."""
    return args.wt_reg_weight > 0 and bool({*WHITENED} & {*args.wt_layer})


def selects(args: Namespace) -> bool:
    """Whether it needs the statistics by which covariance entries are selected."""
    return whitens(args) and SELECTIVE in args.wt_layer


def clustered(args: Namespace) -> bool:
    """Whether they are selected by clusters, and not by their number."""
    return selects(args) and not args.relax_denom


def first_selection(args: Namespace) -> int:
    """After how many iterations entries are selected first; with ``--dynamic`` again after so many more."""
    processes = world_size()
    return (args.cov_stat_epoch + 1) * max(1, args.epoch_size // (args.bs_mult * processes))


def selections_due(args: Namespace, iteration: int) -> int:
    """How many selections a run should have seen by then, other than at its end."""
    rounds = min(iteration, args.max_iter - 1) // first_selection(args)
    return rounds if args.dynamic else min(rounds, 1)
