"""Recipes: one flag sets the defaults where published behaviour and sense differ (docs/recipes.md)."""

from argparse import Namespace
from typing import Any

from utils.errors import CommonError

HORIZON = 120_000  # the release's decay constant, whatever the length of the run
RATIO = HORIZON / 30_463  # the horizon in lengths of the published two-source run
PUBLISHED_LENGTH = {  # (sources, arch) -> iterations that the release's scripts run
    (("gtav", "synthia"), "DeepR50V3PlusD"): 30_463,
    (("gtav", "synthia"), "DeepR101V2D"): 70_585,
    (("gtav", "gtav"), "DeepR50V3PlusD"): 23_033,
    (("gtav", "synthia", "idd"), "DeepR50V3PlusD"): 112_193,
}
RECIPES: dict[str, dict[str, Any]] = {  # differences between recipes, by the names of flags
    "published": {
        "meta_aug": "first_domain",
        "gumbel_eval": 1,
        "decay_horizon": HORIZON,
        "gtav_labels": "colour",
        "mapillary_pad": "road",
        "sliding_counts": "row",
        "mem_init_batches": 743,
        "amp": "off",
    },
    "repaired": {
        "meta_aug": "role",
        "gumbel_eval": 0,
        "gtav_labels": "ids",
        "mapillary_pad": "ignore",
        "sliding_counts": "pixel",
        "mem_init_batches": 50,
        "amp": "auto",
    },
}


def add_recipe(parser: Any) -> None:
    parser.add_argument(
        "--recipe",
        default="repaired",
        choices=tuple(RECIPES),
        help="defaults of the flags marked [recipe]: as published, or repaired where that is defective",
    )


def apply_recipe(args: Namespace) -> None:
    """Fill the flags that the command line left open; a given flag always wins."""
    if getattr(args, "gumbel_off", False):
        fill_open(args, gumbel_eval=0)
    if hasattr(args, "max_iter"):
        fill_open(args, max_iter=args.max_iter or published_length(args))
        if args.lr_schedule == "poly":  # RobustNet's schedule ends with the run
            fill_open(args, poly_exp=0.9, decay_horizon=args.max_iter)
    fill_open(args, **RECIPES[args.recipe])
    if hasattr(args, "max_iter"):
        fill_open(args, poly_exp=9.0, decay_horizon=round(RATIO * args.max_iter))


def fill_open(args: Namespace, **defaults: Any) -> None:
    for name, value in defaults.items():
        if hasattr(args, name) and getattr(args, name) is None:
            setattr(args, name, value)


def published_length(args: Namespace) -> int:
    key = tuple(args.dataset), args.arch.rpartition(".")[2]
    length = PUBLISHED_LENGTH.get(key)
    if length is None and args.recipe == "published":
        raise CommonError(f"--max_iter: no length was published for {' '.join(key[0])} with {key[1]}; give one")
    return length or 30_463
