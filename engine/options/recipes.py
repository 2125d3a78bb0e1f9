"""Recipes: ``--recipe`` sets the defaults where published behaviour and sense differ (docs/recipes.md)."""

from argparse import ArgumentParser, Namespace
from typing import Any

from network.archs import short_name
from optimizer.schedules import RATES
from utils.errors import UsageError

HORIZON = 120_000  # the release's decay constant, whatever the length of the run
RATIO = HORIZON / 30_463  # the horizon in lengths of the published two-source run
PUBLISHED_LENGTH = {  # (sources, arch) -> iterations that the release's scripts run
    (("gtav", "synthia"), "DeepR50V3PlusD"): 30_463,
    (("gtav", "synthia"), "DeepR101V2D"): 70_585,
    (("gtav", "gtav"), "DeepR50V3PlusD"): 23_033,
    (("gtav", "synthia", "idd"), "DeepR50V3PlusD"): 112_193,
}
DIFFERENCES = {  # flag: published, repaired, tuned
    "meta_aug": ("first_domain", "role", "none"),
    "gumbel_eval": (1, 0, 0),
    "decay_horizon": (HORIZON, None, None),  # else it follows the length of the run
    "gtav_labels": ("colour", "ids", "ids"),
    "mapillary_pad": ("road", "ignore", "ignore"),
    "sliding_counts": ("row", "pixel", "pixel"),
    "mem_init_batches": (743, 50, 50),
    "amp": ("off", "auto", "auto"),
    "gumbel_off": (False, False, True),
    "read_temp": (1.0, 1.0, 0.1),
    "mem_temp": (1.0, 1.0, 0.1),
    "mem_readloss": (0.02, 0.02, 0.2),
    "mem_centred": (False, False, True),
    "mem_residual": (False, False, True),
    "meta_split": ("domains", "domains", "all"),
    "meta_mean": (False, False, True),
    "logit_adjust": (0.0, 0.0, 0.5),
}
RECIPES: dict[str, dict[str, Any]] = {
    name: {flag: values[place] for flag, values in DIFFERENCES.items() if values[place] is not None}
    for place, name in enumerate(("published", "repaired", "tuned"))
}
RECIPE_HELP = "defaults as published, repaired, or tuned for short runs: docs/recipes.md"


def explain_defaults(parser: ArgumentParser) -> None:
    """Write the values of the recipes into the help texts, in the place of [recipe]."""
    for action in parser._actions:
        if action.dest not in DIFFERENCES or not action.help.endswith(" [recipe]"):
            continue
        values = [f"{RATIO:.3g} times --max_iter" if value is None else value for value in DIFFERENCES[action.dest]]
        published, usual, tuned = values
        others = {"published": published, "tuned": tuned}
        texts = [f"{name}: {value}" for name, value in others.items() if value != usual]
        action.help = action.help.replace("[recipe]", f"(default: {'; '.join([str(usual), *texts])})")


def apply_recipe(args: Namespace) -> None:
    """Fill the flags that the command line left open; a given flag always wins."""
    defaults = dict(RECIPES[args.recipe])
    if args.gumbel_off:
        defaults["gumbel_eval"] = 0
    if hasattr(args, "max_iter"):  # of training
        args.max_iter = args.max_iter or published_length(args)
        if args.lr_schedule == "poly":  # RobustNet's schedule ends with the run
            defaults |= {"poly_exp": 0.9, "decay_horizon": args.max_iter}
        else:
            defaults = {"poly_exp": 9.0, "decay_horizon": round(RATIO * args.max_iter)} | defaults
        defaults |= RATES[args.optimizer]
    for name, value in defaults.items():
        if getattr(args, name, value) is None:
            setattr(args, name, value)


def published_length(args: Namespace) -> int:
    key = tuple(args.dataset), short_name(args.arch)
    length = PUBLISHED_LENGTH.get(key)
    if length is None and args.recipe == "published":
        raise UsageError(f"--max_iter: no length was published for {' '.join(key[0])} with {key[1]}; give one")
    return length or 30_463
