"""The command line of ``eval.py``: flags in, one frozen ``EvaluationOptions`` out."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets.images import LabelledImages
from datasets.options import DataOptions, user_path
from datasets.registry import NAMES
from engine.options.evaluation_checks import check_combinations
from engine.options.parser import Parser, dataset_names, mistakes_of_all
from engine.options.recipes import RECIPE_HELP, RECIPES, apply_recipe, explain_defaults
from engine.options.release_flags import EVALUATION_WITHOUT_EFFECT, add_without_effect, given_weights
from engine.options.run_options import MachineOptions, ScoringOptions
from engine.options.suite_options import SuiteOptions, runs_in
from network.options import NORM_FLAG, NORM_HELP
from utils.options import ANY, COUNT, FACTOR, add_options, fill, number, option

SCALE = number(float, 1e-12, 8)  # of an image; a larger one would fill any memory and is a typing error
OVERLAP = number(float, 0, 0.99)  # windows that overlap wholly never reach the end of an image
SHARE = {"nargs": "?", "const": 0.02, "type": number(float, 1e-6, 1), "metavar": "SHARE"}
TARGET_NORM_SEEDS = 5
VIDEO_VIEWS = ("colours", "overlay", "side_by_side")


def scales(text: str) -> tuple[float, ...]:
    """An argparse type: '0.5,1.0,2.0' as numbers."""
    return tuple(SCALE(part) for part in text.split(","))


@dataclass(frozen=True)
class SnapshotOptions:
    """The checkpoint, and what its network must be."""

    snapshot: Path = option(
        None, "the checkpoint to evaluate: a file, or a folder of tools.convert --to hub", type=user_path
    )
    arch: str | None = option(None, "the network that the checkpoint must hold (default: any)")
    output_stride: int | None = option(None, "overrides the network's own", type=int, choices=(8, 16, 32))
    wt_layer: tuple[int, ...] | None = option(None, f"{NORM_HELP} (default: any)", **NORM_FLAG)
    pretrained_backbone: str | None = option(
        None, "where the weights of a frozen encoder are now (default: where training read them)"
    )
    memory: bool = option(False, "the checkpoint must hold a memory")
    image_in: bool = option(False, "normalise each image by its own mean and deviation, as in training")


@dataclass(frozen=True)
class SubjectOptions:
    """What is evaluated, and where the results go."""

    datasets: tuple[str, ...] | None = option(
        None, f"of {NAMES} (default: cityscapes, or the sources)", flag="dataset", nargs="+"
    )
    images: Path | None = option(
        None, "label a folder of images and videos, one file, or a camera: 0", alias="videopath", type=user_path
    )
    video_as: tuple[str, ...] = option(("overlay",), "what labelled videos show", nargs="+", choices=VIDEO_VIEWS)
    split: str = option(
        "val", "part of each domain; train_extra: coarse labels", choices=("train", "val", "test", "train_extra")
    )
    limit: int = option(0, "at most N images per domain, evenly spaced, or frames per video; 0: all", type=ANY)
    check: bool = option(True, "score without checking a sample of the files first", flag="no_check")
    dump_images: bool = option(False, "also write colours, overlay and errors per image")
    label: str | None = option(None, "a label for the results", flag="exp")
    out: Path | None = option(None, "where to write (default: beside the checkpoint)", alias="outdir", type=user_path)
    recipe: str = option("repaired", RECIPE_HELP, choices=tuple(RECIPES))

    @property
    def camera(self) -> int | None:
        """The number of the camera that ``--images`` names; a file or folder with such a name comes first."""
        name = str(self.images)
        return int(name) if name.isdecimal() and not self.images.exists() else None


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
        1 / 3, "share by which windows overlap (default: a third)", flag="sliding_overlap", type=OVERLAP
    )
    counts: str | None = option(
        None, "divisor of sums over windows [recipe]", flag="sliding_counts", choices=("pixel", "row")
    )


@dataclass(frozen=True)
class MeasureOptions:
    """What is measured or drawn besides the scores."""

    calibration: bool = option(False, "also the expected calibration error, over 15 bins of confidence")
    boundary_iou: float | None = option(
        None, "also the IoU within SHARE of the diagonal of a contour (default: 0.02 if the flag stands alone)", **SHARE
    )
    entropy: bool = option(False, "also write the entropy of images (not videos) as pictures, 0 (violet) to 1 (yellow)")


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
class FigureOptions:
    """Which figures are drawn instead of scores, and how; the flags are those of the authors' ablation.py."""

    tsne: bool = option(False, "draw the features of each image and class in two dimensions")
    actmap: bool = option(False, "draw where the memory's item of each class is read", flag="mem_actmap")
    memory_report: bool = option(False, "write how alike the memory's items are, who reads them, what each is worth")
    all_classes: bool = option(False, "of all classes, not only of six", flag="all_class")
    images_per_domain: int = option(600, "at most N images per domain; --limit wins", flag="imagenum_dom", type=COUNT)
    sources: tuple[str, ...] = option(
        None, "domains to be called sources (default: those of the checkpoint)", flag="source_domain", nargs="+"
    )
    centre_crop: tuple[int, int] | None = option(
        None, "look only at the centre of an image, of this width and height", nargs=2, type=COUNT
    )
    embeddings: int = option(1, "draw N embeddings, from different starts", flag="duplication", type=COUNT)
    perplexity: float = option(50.0, "perplexity of t-SNE; less for few points", type=FACTOR)
    pca: bool = option(False, "the two principal components instead of t-SNE: seconds")


@dataclass(frozen=True)
class EvaluationOptions:
    """All that ``eval.py`` was asked for.  Nothing changes it after parsing."""

    snapshot: SnapshotOptions
    subject: SubjectOptions
    suite: SuiteOptions
    data: DataOptions
    inference: InferenceOptions
    scoring: ScoringOptions
    measures: MeasureOptions
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
    if args.images and args.dataset == ["video_folder"]:  # the release's name for images without labels
        args.dataset = None
    if not args.snapshot and not args.runs:
        parser.error("the following arguments are required: --snapshot")
    check_combinations(args)
    args.dataset = dataset_names(args.dataset or (), args.data_root)
    args.source_domain = dataset_names(args.source_domain or (), args.data_root)
    if args.tsne or args.mem_actmap or args.memory_report:
        args.limit = args.limit or args.imagenum_dom
    args.runs = runs_in(args.runs)
    args.snapshot = args.runs[0] / "last.pth" if args.runs else given_weights(args.snapshot)
    args.target_norm = list(dict.fromkeys(args.target_norm or ())) or None
    apply_recipe(args)
    return fill(
        EvaluationOptions,
        args,
        data=fill(DataOptions, args, names=tuple(args.dataset)),
        inference=fill(InferenceOptions, args, flip=args.inference_mode != "whole" and not args.no_flip),
    )


def evaluation_parser() -> Parser:
    parser = Parser(
        prog="eval.py",
        description="Score a checkpoint on labelled domains, on screen, as CSV and as JSON. Or label images, "
        "videos or a camera: --images. Or draw the features and the memory: --tsne, --mem_actmap, --memory_report.",
    )
    subject = parser.add_argument_group("subject")
    add_options(subject, SnapshotOptions)
    add_options(subject, SubjectOptions)
    subject.add_argument("--test_mode", action="store_true", help="a quick trial: --limit 10, if none is given")
    add_options(subject, DataOptions)
    add_options(parser.add_argument_group("tables"), SuiteOptions)
    add_options(parser.add_argument_group("inference"), InferenceOptions)
    protocol = parser.add_argument_group("protocol")
    protocol.add_argument("--gumbel_off", action="store_true", help="the same as --gumbel_eval 0")
    add_options(protocol, ScoringOptions)
    add_options(parser.add_argument_group("confidence and borders"), MeasureOptions)
    add_options(parser.add_argument_group("target-specific normalisation"), TargetNormOptions)
    add_options(parser.add_argument_group("figures, instead of scores"), FigureOptions)
    add_options(parser.add_argument_group("machine"), MachineOptions)
    add_without_effect(parser, EVALUATION_WITHOUT_EFFECT)
    explain_defaults(parser)
    return parser
