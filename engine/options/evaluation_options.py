"""The command line of ``eval.py``: flags in, one frozen ``EvaluationOptions`` out."""

import argparse
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets.images import LabelledImages
from datasets.options import DataOptions, user_path
from datasets.registry import SPECS
from engine.options.figure_options import FigureOptions
from engine.options.parser import Parser, dataset_names, mistakes_of_all, refuse_if
from engine.options.recipes import RECIPE_HELP, RECIPES, apply_recipe
from engine.options.release_flags import EVALUATION_WITHOUT_EFFECT, VIDEO_FOLDER, add_without_effect, given_weights
from engine.options.run_options import MachineOptions, ScoringOptions
from network.options import NORM_FLAG, NORM_HELP
from utils.options import ANY, COUNT, SHARE, add_options, fill, number, option

LARGEST_SCALE = 8  # of an image; a larger scale would fill any memory and is a typing error
SCALE = number(float, 1e-12, LARGEST_SCALE)
TARGET_NORM_SEEDS = 5


def scales(text: str) -> tuple[float, ...]:
    """An argparse type: '0.5,1.0,2.0' as numbers."""
    try:
        values = tuple(SCALE(part) for part in text.split(","))
    except argparse.ArgumentTypeError:
        values = ()
    if not values or len(set(values)) < len(values):
        raise argparse.ArgumentTypeError(f"{text}: give different numbers above 0, at most {LARGEST_SCALE}: 0.5,1.0")
    return values


@dataclass(frozen=True)
class SnapshotOptions:
    """The checkpoint, and what its network must be."""

    snapshot: Path = option(None, "the checkpoint to evaluate", type=user_path, required=True)
    arch: str | None = option(None, "the network that the checkpoint must hold (default: any)")
    output_stride: int | None = option(None, "overrides the network's own", type=int, choices=(8, 16, 32))
    wt_layer: tuple[int, ...] | None = option(None, f"{NORM_HELP} (default: any)", **NORM_FLAG)
    memory: bool = option(False, "the checkpoint must hold a memory")
    image_in: bool = option(False, "normalise each image by its own mean and deviation, as in training")


@dataclass(frozen=True)
class SubjectOptions:
    """What is evaluated, and where the results go."""

    datasets: tuple[str, ...] | None = option(
        None, f"of {', '.join(SPECS)} (default: cityscapes), or custom:PATH", flag="dataset", nargs="+"
    )
    images: Path | None = option(None, "label the images of this folder instead", alias="videopath", type=user_path)
    split: str = option(
        "val", "part of each domain; train_extra: coarse labels", choices=("train", "val", "test", "train_extra")
    )
    limit: int = option(0, "at most N images per domain, evenly spaced; 0: all", type=ANY)
    dump_images: bool = option(False, "also write colours, overlay and errors per image")
    label: str | None = option(None, "a label for the results", flag="exp")
    out: Path | None = option(None, "where to write (default: beside the checkpoint)", alias="outdir", type=user_path)
    recipe: str = option("repaired", RECIPE_HELP, choices=tuple(RECIPES))


@dataclass(frozen=True)
class InferenceOptions:
    """How the network looks at an image."""

    mode: str = option(
        "whole",
        "whole images, the mean over sliding windows, or the mean over several scales",
        flag="inference_mode",
        choices=("whole", "sliding", "pooling"),
    )
    scales: tuple[float, ...] = option("1.0", "of the image, for sliding and pooling, e.g. 0.5,1.0", type=scales)
    flip: bool = option(True, "sliding and pooling without mirror images", flag="no_flip")
    crop_size: int = option(768, "side of a sliding window at scale 1", type=COUNT)
    overlap: float = option(
        1 / 3, "share by which windows overlap (default: %(default).3g)", flag="sliding_overlap", type=SHARE
    )
    counts: str | None = option(
        None, "divisor of sums over windows [recipe]", flag="sliding_counts", choices=("pixel", "row")
    )


@dataclass(frozen=True)
class TargetNormOptions:
    """Target-specific normalisation."""

    batch_sizes: tuple[int, ...] | None = option(
        None, "also score with the statistics of N images, e.g. 16 8 1", flag="target_norm", nargs="+", type=COUNT
    )
    seeds: int | None = option(
        None, f"ways to group the images (default: {TARGET_NORM_SEEDS})", flag="target_norm_seeds", type=COUNT
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

    def domains(self) -> dict[str, LabelledImages]:
        """The images of each domain, by its name in results."""
        names, split, limit = dict.fromkeys(self.subject.datasets), self.subject.split, self.subject.limit
        listed = [self.data.images(name, split, limit) for name in names]
        return {images.spec.name: images for images in listed}


@mistakes_of_all()
def parse_evaluation(argv: Sequence[str] | None = None) -> EvaluationOptions:
    """The options of ``argv``, by default of ``sys.argv``.

    Exits with code 2 after a mistake that argparse sees; raises CommonError for other mistakes.
    """
    argv = sys.argv[1:] if argv is None else argv
    parser = evaluation_parser()
    if "--test_mode" in argv:
        parser.set_defaults(limit=10)
    args = parser.parse_args(argv)
    settle(args)
    check_needs(args)
    check_contradictions(args)
    apply_recipe(args)
    return fill(
        EvaluationOptions,
        args,
        data=fill(DataOptions, args, names=tuple(args.dataset or ())),
        inference=fill(InferenceOptions, args, flip=args.inference_mode != "whole" and not args.no_flip),
    )


def evaluation_parser() -> Parser:
    parser = Parser(
        prog="eval.py",
        description="Score a checkpoint on labelled domains, on screen, as CSV and as JSON. Or label the images of a "
        "folder: --images DIR. Or draw the features and the memory: --tsne, --mem_actmap.",
    )
    subject = parser.add_argument_group("subject")
    add_options(subject, SnapshotOptions)
    add_options(subject, SubjectOptions)
    subject.add_argument("--test_mode", action="store_true", help="a quick trial: --limit 10, if none is given")
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


def settle(args: Namespace) -> None:
    """Give flags that mean the same thing one form: labelled domains, or images without labels."""
    if args.dataset == [VIDEO_FOLDER]:
        refuse_if(args.images is None, f"--dataset {VIDEO_FOLDER}: name the images by --videopath DIR")
        args.dataset = None
    if args.images is None:
        args.dataset = dataset_names(args.dataset or ["cityscapes"], args.data_root)
    if args.tsne or args.mem_actmap:
        args.limit = args.limit or args.imagenum_dom
    args.source_domain = dataset_names(args.source_domain or (), args.data_root)
    args.snapshot = given_weights(args.snapshot)
    args.target_norm = list(dict.fromkeys(args.target_norm or ())) or None


def check_needs(args: Namespace) -> None:
    """Each flag below changes nothing without others."""
    either, figures = "--tsne or --mem_actmap", args.tsne or args.mem_actmap
    for flag, given, used, needed in (
        ("--all_class", args.all_class, figures, either),
        ("--source_domain", args.source_domain, figures, either),
        ("--centre_crop", args.centre_crop, figures, either),
        ("--pca", args.pca, args.tsne, "--tsne"),
        ("--target_norm_seeds", args.target_norm_seeds, args.target_norm, "--target_norm"),
    ):
        refuse_if(given and not used, f"{flag} changes nothing without {needed}: add that, or drop {flag}")


def check_contradictions(args: Namespace) -> None:
    mode, repeats, embeddings, images = args.inference_mode, args.gumbel_eval or 0, args.duplication, args.images
    scaled = mode == "whole" and args.scales != (1.0,)
    scales = ",".join(map(str, args.scales))
    refuse_if(scaled, f"--scales {scales}: a whole image is seen at 1.0; add --inference_mode pooling")
    remedy = "such windows never reach the end of an image; give a share below 1"
    refuse_if(args.sliding_overlap == 1, f"--sliding_overlap 1: {remedy}")
    refuse_if(args.gumbel_off and repeats, f"--gumbel_off contradicts --gumbel_eval {repeats}: drop one of them")
    same = args.pca and embeddings > 1
    refuse_if(same, f"--duplication {embeddings}: principal components are always the same; drop it")
    if images is not None:
        names = " ".join(args.dataset or ())
        refuse_if(names, f"--images {images} and --dataset {names}: give one of them at a time")
        refuse_if(args.tsne, "--tsne: points need labels, which --images has not; name domains by --dataset")
        refuse_if(repeats > 1, f"--gumbel_eval {repeats}: repeats are for scores, images have none; give 0 or 1")
    for flag in ("images", "dump_images", "tsne", "mem_actmap"):
        refuse_if(args.target_norm and getattr(args, flag), f"--target_norm: is for scores only; drop it, or --{flag}")
    for flag in ("target_norm", "tsne", "mem_actmap"):
        if getattr(args, flag):
            refuse_if(mode != "whole", f"--{flag}: images are seen whole; drop --inference_mode {mode}")
            refuse_if(repeats > 1, f"--{flag}: each image is read once; give --gumbel_eval 0 or 1, not {repeats}")
            refuse_if(args.dump_images, f"--{flag}: nothing is scored; drop --dump_images, or drop --{flag}")
