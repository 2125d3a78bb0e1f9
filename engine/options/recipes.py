"""Recipes: one flag that sets the defaults wherever published behaviour and sense differ (docs/recipes.md)."""

from argparse import Namespace

from utils.errors import UsageError

HORIZON = 120_000  # the release's decay constant, whatever the length of the run
RATIO = HORIZON / 30_463  # by which the horizon outlasts the published two-source run
PUBLISHED_LENGTH = {  # (sources, arch) -> iterations that the release's scripts run
    (("gtav", "synthia"), "DeepR50V3PlusD"): 30_463,
    (("gtav", "synthia"), "DeepR101V2D"): 70_585,
    (("gtav", "gtav"), "DeepR50V3PlusD"): 23_033,
    (("gtav", "synthia", "idd"), "DeepR50V3PlusD"): 112_193,
}
RECIPES = {
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


def apply_recipe(args: Namespace) -> Namespace:
    """Fill what the command line left open, in place; a flag that was given always wins."""
    if getattr(args, "gumbel_off", False) and args.gumbel_eval is None:
        args.gumbel_eval = 0
    if hasattr(args, "max_iter"):
        fill(args, max_iter=args.max_iter or published_length(args))
    if getattr(args, "lr_schedule", None) == "poly":  # RobustNet's: it ends with the run
        fill(args, poly_exp=0.9, decay_horizon=args.max_iter)
    fill(args, **RECIPES[args.recipe])
    if hasattr(args, "lr_schedule"):
        fill(args, poly_exp=9.0, decay_horizon=round(RATIO * args.max_iter))
    return args


def fill(args: Namespace, **defaults: object) -> None:
    """Set the flags that this program has and that are still open."""
    for name, value in defaults.items():
        if getattr(args, name, value) is None:
            setattr(args, name, value)


def published_length(args: Namespace) -> int:
    key = tuple(args.dataset), args.arch.rpartition(".")[2]
    length = PUBLISHED_LENGTH.get(key)
    if length is None and args.recipe == "published":
        raise UsageError(f"--max_iter: no length was published for {' '.join(key[0])} with {key[1]}; give one")
    return length or 30_463
