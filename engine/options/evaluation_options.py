"""The command line of ``eval.py``: flags in, one frozen ``EvaluationOptions`` out."""

import argparse
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets.options import DataOptions, user_path
from datasets.registry import SPECS
from engine.options.figure_options import FigureOptions, check_figures
from engine.options.parser import Parser, dataset_names, is_given
from engine.options.recipes import add_recipe, apply_recipe
from engine.options.release_flags import EVALUATION_WITHOUT_EFFECT, VIDEO_FOLDER, add_without_effect, given_weights
from engine.options.run_options import MachineOptions, ScoringOptions
from engine.options.training_parser import OWN
from network.options import NORM_FLAG, NORM_HELP
from utils.errors import CommonError
from utils.options import ANY, COUNT, SHARE, add_options, fill, number, option

LARGEST_SCALE = 8  # of an image; a larger scale would fill any memory and is a typing error
SCALE = number(float, 1e-12, LARGEST_SCALE)
TARGET_NORM_SEEDS = 5


def scales(text: str) -> tuple[float, ...]:
    """An argparse type: '0.5,1.0,2.0' as numbers."""
    try:
        values = tuple(SCALE(part) for part in text.split(","))
    except (ValueError, argparse.ArgumentTypeError):
        values = ()
    if not values or len(set(values)) < len(values):
        raise argparse.ArgumentTypeError(
            f"{text}: give different numbers above 0, at most {LARGEST_SCALE}, with commas between, e.g. 0.5,1.0"
        )
    return values


@dataclass(frozen=True)
class SnapshotOptions:
    """The checkpoint, and what its network must be."""

    snapshot: Path = option(
        None, "the checkpoint to evaluate, of train.py or of the authors", type=user_path, required=True, metavar="FILE"
    )
    arch: str | None = option(None, "the network that the checkpoint must hold (default: any)", metavar="NAME")
    output_stride: int | None = option(None, "overrides the network's own", type=int, choices=(8, 16, 32))
    wt_layer: tuple[int, ...] | None = option(
        None, f"{NORM_HELP}; the checkpoint must hold these (default: any)", **NORM_FLAG
    )
    memory: bool = option(False, "the checkpoint must hold a memory")
    image_in: bool = option(
        False,
        "normalise each image by its own mean and deviation, not by ImageNet's: the checkpoint must be trained so; "
        "decides for files that do not say it",
    )


@dataclass(frozen=True)
class SubjectOptions:
    """What is evaluated, and where the results go."""

    datasets: tuple[str, ...] | None = option(
        None, f"of {', '.join(SPECS)} (default: cityscapes), or {OWN}", flag="dataset", nargs="+", metavar="NAME"
    )
    split: str = option(
        "val",
        "which part of each domain; train_extra: the coarse labels of Cityscapes",
        choices=("train", "val", "test", "train_extra"),
    )
    limit: int = option(
        0, "at most N images per domain, evenly spaced, or the first N of a folder; 0: all", type=ANY, metavar="N"
    )
    dump_images: bool = option(False, "also write colours, overlay and errors per image")
    label: str | None = option(None, "a label for the results", flag="exp", metavar="NAME")
    images: Path | None = None
    out: Path | None = None
    recipe: str = "repaired"


@dataclass(frozen=True)
class InferenceOptions:
    """How the network looks at an image."""

    mode: str = option(
        "whole",
        "whole: each image in one pass; sliding: logits averaged over windows; pooling: probabilities averaged over "
        "passes at several scales",
        flag="inference_mode",
        choices=("whole", "sliding", "pooling"),
    )
    scales: tuple[float, ...] = option(
        "1.0", "scales at which sliding and pooling look at an image", type=scales, metavar="X,Y,..."
    )
    flip: bool = option(True, "sliding and pooling without mirror images", flag="no_flip")
    crop_size: int = option(768, "side of a sliding window at scale 1", type=COUNT, metavar="SIDE")
    overlap: float = option(
        1 / 3,
        "share by which neighbouring windows overlap, below 1 (default: %(default).3g)",
        flag="sliding_overlap",
        type=SHARE,
        metavar="SHARE",
    )
    counts: str | None = option(
        None,
        "divisor of sums over windows: pixel, the windows over each pixel; row, as published a count that mixes rows "
        "and columns [recipe]",
        flag="sliding_counts",
        choices=("pixel", "row"),
    )


@dataclass(frozen=True)
class TargetNormOptions:
    """Target-specific normalisation."""

    batch_sizes: tuple[int, ...] | None = option(
        None,
        "also score with batch norms that use the statistics of N images of the domain at a time, e.g. 16 8 1",
        flag="target_norm",
        nargs="+",
        type=COUNT,
        metavar="N",
    )
    seeds: int | None = option(
        None,
        f"ways to group the images, over which mean and deviation are computed (default: {TARGET_NORM_SEEDS})",
        flag="target_norm_seeds",
        type=COUNT,
        metavar="K",
    )


@dataclass(frozen=True)
class EvaluationOptions:
    """All that ``eval.py`` was asked for.  Nothing changes it after parsing."""

    snapshot: SnapshotOptions
    subject: SubjectOptions
    data: DataOptions
    inference: InferenceOptions
    scoring: ScoringOptions
    target_norm: TargetNormOptions
    figures: FigureOptions
    machine: MachineOptions


def parse_evaluation(argv: Sequence[str] | None = None) -> EvaluationOptions:
    """The options of a command line, by default that of the program.

    Exits with code 2 after a mistake that argparse sees; raises CommonError for other mistakes.
    """
    parser = evaluation_parser()
    if is_given("--test_mode", argv):
        parser.set_defaults(limit=10)
    args = parser.parse_args(argv)
    check_inference(args)
    settle(args)
    check_figures(args)
    check_target_norm(args)
    if args.gumbel_off and args.gumbel_eval:
        raise CommonError(f"--gumbel_off contradicts --gumbel_eval {args.gumbel_eval}: drop one of them")
    apply_recipe(args)
    return EvaluationOptions(
        snapshot=fill(SnapshotOptions, args),
        subject=fill(SubjectOptions, args),
        data=fill(DataOptions, args, names=tuple(args.dataset or ())),
        inference=fill(InferenceOptions, args, flip=args.inference_mode != "whole" and not args.no_flip),
        scoring=fill(ScoringOptions, args),
        target_norm=fill(TargetNormOptions, args),
        figures=fill(FigureOptions, args),
        machine=fill(MachineOptions, args),
    )


def evaluation_parser() -> Parser:
    parser = Parser(
        prog="eval.py",
        description="Score a checkpoint on labelled domains: mIoU and per-class IoU, precision and recall, on screen, "
        "as CSV and as JSON with the protocol inside. Or label the images of a folder: --images DIR. Or draw the "
        "features and the memory: --tsne, --mem_actmap.",
    )
    add_recipe(parser)
    subject = parser.add_argument_group("subject")
    add_options(subject, SnapshotOptions)
    add_options(subject, SubjectOptions)
    subject.add_argument(
        "--images",
        "--videopath",
        type=user_path,
        metavar="DIR|FILE",
        help="label these images instead: any sizes, sorted, with subfolders; finished images are not done again",
    )
    subject.add_argument("--test_mode", action="store_true", help="a quick trial: --limit 10, if none is given")
    subject.add_argument(
        "--out",
        "--outdir",
        type=user_path,
        metavar="DIR",
        help="where to write (default: beside the checkpoint, a folder with its name, and in it one named after the "
        "inference)",
    )
    add_options(subject, DataOptions)
    add_options(parser.add_argument_group("inference"), InferenceOptions)
    protocol = parser.add_argument_group("protocol")
    protocol.add_argument("--gumbel_off", action="store_true", help="the same as --gumbel_eval 0")
    add_options(protocol, ScoringOptions)
    add_options(parser.add_argument_group("target-specific normalisation"), TargetNormOptions)
    add_options(parser.add_argument_group("figures, instead of scores"), FigureOptions)
    add_options(parser.add_argument_group("machine"), MachineOptions)
    add_without_effect(parser, EVALUATION_WITHOUT_EFFECT)
    return parser


def check_inference(args: Namespace) -> None:
    if args.inference_mode == "whole" and args.scales != (1.0,):
        given = ",".join(map(str, args.scales))
        raise CommonError(f"--scales {given}: a whole image is seen at 1.0; add --inference_mode pooling (or sliding)")
    if args.sliding_overlap == 1:
        raise CommonError("--sliding_overlap 1: such windows never reach the end of an image; give a share below 1")


def settle(args: Namespace) -> None:
    """Give flags that mean the same thing one form: labelled domains, or images without labels."""
    if args.dataset == [VIDEO_FOLDER]:
        if args.images is None:
            raise CommonError(f"--dataset {VIDEO_FOLDER}: name the images by --videopath DIR")
        args.dataset = None
    if args.images is None:
        args.dataset = dataset_names(args.dataset or ["cityscapes"], args.data_root)
    elif args.dataset:
        raise CommonError(f"--images {args.images} and --dataset {' '.join(args.dataset)}: give one of them at a time")
    elif args.gumbel_eval and args.gumbel_eval > 1:
        raise CommonError(f"--gumbel_eval {args.gumbel_eval}: repeats are for scores, images have none; give 0 or 1")
    args.source_domain = dataset_names(args.source_domain or (), args.data_root)
    args.snapshot = given_weights(args.snapshot)
    if args.target_norm:
        args.target_norm = list(dict.fromkeys(args.target_norm))


def check_target_norm(args: Namespace) -> None:
    """Target-specific normalisation sees whole images, and is for scores only."""
    if not args.target_norm:
        if args.target_norm_seeds:
            raise CommonError("--target_norm_seeds changes nothing without --target_norm: add that, or drop it")
        return
    if args.inference_mode != "whole":
        raise CommonError(f"--target_norm: images are seen whole; drop --inference_mode {args.inference_mode}")
    others = "images", "dump_images", "tsne", "mem_actmap"
    if wrong := next((name for name in others if getattr(args, name)), None):
        raise CommonError(f"--target_norm: is for scores only; drop it, or --{wrong}")
    if args.gumbel_eval and args.gumbel_eval > 1:
        raise CommonError(
            f"--target_norm: --target_norm_seeds repeats it; give --gumbel_eval 0 or 1, not {args.gumbel_eval}"
        )
