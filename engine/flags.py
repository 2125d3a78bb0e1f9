"""The command lines of ``train.py`` and ``eval.py``; spelling and defaults follow the authors' release.

Nothing here imports torch, so that ``--help`` and mistakes are answered at once.
"""

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets.specs import SPECS
from engine.recipes import RECIPES, apply_recipe

ARCH = "network.deepv3plus.DeepR50V3PlusD"
WITHOUT_EFFECT = {  # flags that the release parses and never uses, or cannot switch off; the number of their values
    "--sgd": 0, "--syncbn": 0, "--adam": 0, "--amsgrad": 0, "--fp16": 0, "--freeze_trunk": 0, "--hardnm": 1,
    "--trunk": 1, "--rescale": 1, "--repoly": 1, "--scf": 0, "--start_epoch": 1, "--epoch_per_val": 1,
    "--maxSkip": 1, "--date": 1,
}  # fmt: skip


class WithoutEffect(argparse.Action):
    """Accepts a flag of the release that changes nothing, with one note."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        print(f"note: {option_string} has no effect here, as in the authors' release", file=sys.stderr)


class Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, but not those that a recipe or the machine decides."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False, argparse.SUPPRESS) or "%(default)" in (action.help or ""):
            return action.help
        return f"{action.help} (default: %(default)s)"


def number(kind: type, low: float, high: float = math.inf) -> Any:
    """An argparse type: a finite number from ``low`` to ``high``."""

    def parse(text: str) -> Any:
        value = kind(text)
        if not (low <= value <= high and math.isfinite(value)):
            told = f"from {low:g} to {high:g}" if math.isfinite(high) else f"of {low:g} or more"
            raise argparse.ArgumentTypeError(f"{text}: give a number {told}")
        return value

    parse.__name__ = kind.__name__
    return parse


COUNT, ANY = number(int, 1), number(int, 0)
FACTOR, WEIGHT, SHARE = number(float, 1e-12), number(float, 0), number(float, 0, 1)


def user_path(text: str) -> Path:
    return Path(text).expanduser()


def parse_training(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = training_parser()
    args = parser.parse_args(argv)
    if args.scale_min > args.scale_max:
        parser.error(f"--scale_min {args.scale_min} is above --scale_max {args.scale_max}: exchange them")
    if args.mldg and len(args.dataset) < 2:
        parser.error("--mldg needs two domains: name two, e.g. --dataset gtav gtav, or drop --mldg")
    check_names(parser, [*args.dataset, *args.val_dataset])
    return apply_recipe(args)


def parse_evaluation(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = evaluation_parser()
    args = parser.parse_args(argv)
    check_names(parser, args.dataset)
    return apply_recipe(args)


def check_names(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    for name in names:
        if name not in SPECS:
            parser.error(f"no data set is called {name}: choose from {', '.join(SPECS)}")


def training_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="train.py",
        formatter_class=Formatter,
        allow_abbrev=False,
        description="Train on source domains, validate on domains never seen. Methods: none of --mldg and --memory is "
        "the baseline, --mldg meta-learning, --memory the memory alone, both are Pin the Memory.",
    )
    add_recipe(parser)
    add_training_data(parser)
    add_reading_flags(parser.add_argument_group("evaluation"))
    add_network(parser.add_argument_group("network"))
    add_method(parser.add_argument_group("method"))
    add_optimisation(parser.add_argument_group("optimisation"))
    add_run(parser.add_argument_group("run"))
    add_machine(parser.add_argument_group("machine"))
    for flag, count in WITHOUT_EFFECT.items():
        parser.add_argument(flag, nargs=count, action=WithoutEffect, help=argparse.SUPPRESS, default=argparse.SUPPRESS)
    return parser


def evaluation_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="eval.py",
        formatter_class=Formatter,
        allow_abbrev=False,
        description="Score a checkpoint on labelled domains: mIoU and per-class IoU, precision and recall, on screen, "
        "as CSV and as JSON with the protocol inside, in a folder beside the checkpoint.",
    )
    add_recipe(parser)
    group = parser.add_argument_group("what")
    group.add_argument("--snapshot", type=user_path, required=True, metavar="FILE", help="the checkpoint to evaluate")
    group.add_argument("--dataset", nargs="+", default=["cityscapes"], metavar="NAME", help=f"of {', '.join(SPECS)}")
    group.add_argument("--split", default="val", choices=("train", "val", "test"), help="which part of each domain")
    group.add_argument("--limit", type=ANY, default=0, metavar="N", help="at most N images per domain; 0: all")
    group.add_argument("--dump_images", action="store_true", help="also write colours, overlay and errors per image")
    group.add_argument(
        "--out", type=user_path, metavar="DIR", help="where to write (default: a folder beside the snapshot)"
    )
    add_data_root(group)
    add_reading_flags(parser.add_argument_group("protocol"))
    add_machine(parser.add_argument_group("machine"))
    return parser


def add_recipe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--recipe",
        default="repaired",
        choices=tuple(RECIPES),
        help="defaults of the flags marked [recipe]: as published, or repaired where that is defective",
    )


def add_data_root(group: Any) -> None:
    group.add_argument(
        "--data_root",
        type=user_path,
        default=user_path(os.environ.get("DG_SEG_DATASET", "~/dg_seg_dataset")),
        metavar="DIR",
        help="the folder of all data sets; the environment variable DG_SEG_DATASET sets it too",
    )
    group.add_argument("--gtav_labels", choices=("ids", "colour"), help="how GTAV labels are read [recipe]")


def add_training_data(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("data")
    names = ", ".join(SPECS)
    group.add_argument("--dataset", nargs="+", default=["gtav", "synthia"], metavar="NAME", help=f"sources, of {names}")
    group.add_argument(
        "--val_dataset", nargs="*", default=["cityscapes", "bdd100k", "mapillary"], metavar="NAME",
        help="domains never seen in training, scored every so often",
    )  # fmt: skip
    add_data_root(group)
    group.add_argument("--bs_mult", type=COUNT, default=4, metavar="N", help="images per domain and iteration")
    group.add_argument("--crop_size", type=COUNT, default=768, help="side of the square training crop")
    group.add_argument("--scale_min", type=FACTOR, default=0.5, help="smallest random scale")
    group.add_argument("--scale_max", type=FACTOR, default=2.0, help="largest random scale")
    group.add_argument("--crop_nopad", action="store_true", help="scale up instead of padding what is too small")
    group.add_argument("--rrotate", type=WEIGHT, default=0, metavar="DEGREES", help="random rotation; 0: none")
    group.add_argument("--color_aug", type=WEIGHT, default=0, help="above 0: colour jitter on half of the images")
    group.add_argument("--gblur", action="store_true", help="random Gaussian blur")
    group.add_argument(
        "--meta_aug", choices=("role", "first_domain"),
        help="strong jitter on the domains that are meta-test, or always on the first [recipe]",
    )  # fmt: skip


def add_reading_flags(group: Any) -> None:
    group.add_argument(
        "--mapillary_crop", type=ANY, default=1536, metavar="SIDE", help="Mapillary's square crop; 0: whole images"
    )
    group.add_argument("--mapillary_pad", choices=("ignore", "road"), help="its label of padded pixels [recipe]")
    group.add_argument(
        "--gumbel_eval", type=int, choices=(0, 1), help="1: noisy memory read in evaluation, 0: plain [recipe]"
    )


def add_network(group: Any) -> None:
    group.add_argument("--arch", default=ARCH, help="the release's name of a network")
    group.add_argument("--output_stride", type=int, choices=(8, 16, 32), help="overrides the network's own")
    group.add_argument(
        "--pretrained_backbone", default="imagenet", metavar="imagenet|none|FILE", help="where the backbone starts"
    )
    group.add_argument("--memory", action="store_true", help="add the categorical memory")
    group.add_argument("--mem_slot", type=COUNT, metavar="N", help="memory items (default: one per class)")
    group.add_argument("--mem_dim", type=COUNT, default=256, metavar="N", help="width of an item")
    group.add_argument("--mem_momentum", type=SHARE, default=0.8, help="share of the old item in a write")
    group.add_argument("--read_temp", type=FACTOR, default=1.0, help="temperature of the read weights")


def add_method(group: Any) -> None:
    group.add_argument("--mldg", action="store_true", help="split the domains into meta-train and meta-test")
    group.add_argument("--inner_lr", type=FACTOR, default=1e-3, help="step of the look-ahead")
    group.add_argument("--inner_lr_anneal", action="store_true", help="a quarter of lr from the second iteration on")
    group.add_argument("--no_aux_loss", action="store_true", help="no auxiliary head")
    group.add_argument("--mem_readloss", type=WEIGHT, default=0.02, metavar="W", help="weight of feature cohesion")
    group.add_argument("--mem_divloss", type=WEIGHT, default=0.4, metavar="W", help="weight of memory divergence")
    group.add_argument("--mem_clsloss", type=WEIGHT, default=0.2, metavar="W", help="weight of item classification")
    group.add_argument("--mem_temp", type=FACTOR, default=1.0, help="temperature of feature cohesion")
    group.add_argument("--gumbel_off", action="store_true", help="no Gumbel noise in any memory read")
    group.add_argument("--mem_init_batches", type=COUNT, metavar="N", help="batches for the first memory [recipe]")


def add_optimisation(group: Any) -> None:
    group.add_argument("--max_iter", type=COUNT, metavar="N", help="iterations (default: the published length)")
    group.add_argument("--lr", type=FACTOR, default=0.01, help="learning rate at the start")
    group.add_argument("--momentum", type=SHARE, default=0.9, help="of SGD")
    group.add_argument("--weight_decay", type=WEIGHT, default=5e-4, help="on all parameters")
    group.add_argument("--lr_schedule", choices=("exp", "poly"), default="exp", help="see optimizer/schedules.py")
    group.add_argument(
        "--poly_exp", type=WEIGHT, metavar="X", help="the schedule's exponent (default: exp 9, poly 0.9)"
    )
    group.add_argument("--decay_horizon", type=COUNT, metavar="N", help="the schedule's length [recipe]")


def add_run(group: Any) -> None:
    group.add_argument("--exp", default="default", metavar="NAME", help="name of the experiment")
    group.add_argument(
        "--exp_root", type=user_path, default=user_path("~/experiment_pinmem"), metavar="DIR", help="all runs"
    )
    group.add_argument("--val_interval", type=ANY, default=0, metavar="N", help="iterations between validations; "
                       "0: a tenth of the run")  # fmt: skip
    group.add_argument("--val_images", type=ANY, default=100, metavar="N", help="images per domain in these; 0: all")
    group.add_argument("--log_interval", type=COUNT, default=20, metavar="N", help="iterations between logs")
    group.add_argument("--seed", type=ANY, default=304, help="of everything random")


def add_machine(group: Any) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    group.add_argument("--amp", choices=("auto", "bf16", "off"), help="auto: bf16 on CUDA; off: true float32 [recipe]")
    group.add_argument("--num_workers", type=ANY, default=min(8, max(1, cores - 1)), metavar="N", help="data loading")
