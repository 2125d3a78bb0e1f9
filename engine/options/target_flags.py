"""The flags of target-specific normalisation: ``eval.py --target_norm``."""

from argparse import ArgumentParser, Namespace
from typing import Any

from engine.options.flags import COUNT

SEEDS = 5


def add_target_norm(group: Any) -> None:
    group.add_argument(
        "--target_norm", nargs="+", type=COUNT, metavar="N", help="also score with batch norms that go by the domain's "
        "own images, so many at a time, e.g. 16 8 1"
    )  # fmt: skip
    group.add_argument(
        "--target_norm_seeds", type=COUNT, metavar="K", help="ways to put the images into batches, over which mean and "
        f"deviation are taken (default: {SEEDS})"
    )  # fmt: skip


def check_target_norm(parser: ArgumentParser, args: Namespace) -> None:
    """Batches are of whole images, and are scored only."""
    if not args.target_norm:
        if args.target_norm_seeds:
            parser.error("--target_norm_seeds changes nothing without --target_norm: add that, or drop it")
        return
    args.target_norm_seeds = args.target_norm_seeds or SEEDS
    args.target_norm = list(dict.fromkeys(args.target_norm))
    if args.inference_mode != "whole":
        parser.error(f"--target_norm: images are seen whole; drop --inference_mode {args.inference_mode}")
    others = "images", "dump_images", "tsne", "mem_actmap"
    if wrong := next((name for name in others if getattr(args, name)), None):
        parser.error(f"--target_norm: is for scores only; drop it, or --{wrong}")
    if args.gumbel_eval and args.gumbel_eval > 1:
        parser.error(
            f"--target_norm: --target_norm_seeds repeats it; give --gumbel_eval 0 or 1, not {args.gumbel_eval}"
        )
