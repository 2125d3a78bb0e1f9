"""The command line of ``eval.py``."""

import argparse
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any

from datasets.registry import SPECS
from engine.options import flags
from engine.options.data_flags import OWN
from engine.options.figure_flags import add_figures, check_figures
from engine.options.flags import ANY, COUNT, SHARE, number, user_path
from engine.options.recipes import apply_recipe
from engine.options.target_flags import add_target_norm, check_target_norm

MAX_SCALE = 8  # of an image; a larger one would fill any memory, and is a typing error
SCALE = number(float, 1e-12, MAX_SCALE)
VIDEO_FOLDER = "video_folder"  # the release's name for images without labels
WITHOUT_EFFECT = {  # flags of the release; the number of their values, or their usual value
    "--faster": 0, "--syncbn": 0, "--dist_bn": 0, "--profile": 0, "--trunk": 1, "--dataset_dir": 1, "--dataset_cls": 1,
    "--resume": 0, "--cv_split": 1, "--trials": 1, "--visualize_feature": 0, "--mode": 1,
    "--ablation_mode": 0, "--fixed_aspp_pool": 0, "--split_count": "1",
}  # fmt: skip
OF_TRAINING = {  # flags that the release also asks for here; the snapshot holds what they were in training
    "--mem_slot": "19", "--mem_dim": "256", "--mem_momentum": "0.8", "--mem_temp": "1", "--relax_denom": "0.0",
    "--clusters": "50", "--use_wtloss": 0, "--use_isw": 0, "--cls_wt_loss": 0, "--img_wt_loss": 0, "--wt_bound": "1.0",
    "--batch_weighting": 0, "--jointwtborder": 0, "--strict_bdr_cls": "", "--rlx_off_iter": "-1",
}  # fmt: skip


def parse_evaluation(argv: Sequence[str] | None = None) -> Namespace:
    parser = evaluation_parser()
    if flags.asked_for("--test_mode", argv):
        parser.set_defaults(limit=10)
    args = parser.parse_args(argv)
    check_inference(parser, args)
    check_source(parser, args)
    check_figures(parser, args)
    check_target_norm(parser, args)
    if args.gumbel_off and args.gumbel_eval:
        parser.error(f"--gumbel_off contradicts --gumbel_eval {args.gumbel_eval}: drop one of them")
    args.snapshot = flags.given_weights(args.snapshot)
    return apply_recipe(args)


def evaluation_parser() -> ArgumentParser:
    parser = flags.Parser(
        prog="eval.py",
        description="Score a checkpoint on labelled domains: mIoU and per-class IoU, precision and recall, on screen, "
        "as CSV and as JSON with the protocol inside. Or label the images of a folder: --images DIR. Or draw what the "
        "features and the memory look like: --tsne, --mem_actmap.",
    )
    flags.add_recipe(parser)
    add_subject(parser.add_argument_group("what"))
    add_inference(parser.add_argument_group("inference"))
    add_protocol(parser.add_argument_group("protocol"))
    add_target_norm(parser.add_argument_group("target-specific normalisation"))
    add_figures(parser.add_argument_group("figures, instead of scores"))
    flags.add_machine(parser.add_argument_group("machine"))
    flags.add_without_effect(parser, WITHOUT_EFFECT | OF_TRAINING)
    parser.add_argument("--local_rank", "--local-rank", type=int, help=argparse.SUPPRESS)  # torch.distributed.launch
    return parser


def add_subject(group: Any) -> None:
    group.add_argument(
        "--snapshot", type=user_path, required=True, metavar="FILE", help="the checkpoint to evaluate, of train.py or "
        "of the authors"
    )  # fmt: skip
    group.add_argument("--arch", metavar="NAME", help="what network it must hold (default: any)")
    flags.add_output_stride(group)
    flags.add_layer_norms(group, default=None, told="the snapshot must hold these (default: any)")
    group.add_argument(
        "--dataset", nargs="+", metavar="NAME", help=f"of {', '.join(SPECS)} (default: cityscapes), or {OWN}"
    )
    group.add_argument(
        "--images", "--videopath", type=user_path, metavar="DIR|FILE", help="label these images instead: any sizes, "
        "sorted, with subfolders; what is finished is not done again"
    )  # fmt: skip
    group.add_argument(
        "--split",
        default="val",
        choices=("train", "val", "test", "train_extra"),
        help="which part of each domain; train_extra: the coarse labels of Cityscapes",
    )
    group.add_argument(
        "--limit", type=ANY, default=0, metavar="N", help="at most N images per domain, evenly spaced, or the first N "
        "of a folder; 0: all"
    )  # fmt: skip
    group.add_argument("--test_mode", action="store_true", help="a quick trial: --limit 10, if none is given")
    group.add_argument("--dump_images", action="store_true", help="also write colours, overlay and errors per image")
    group.add_argument("--exp", metavar="NAME", help="a label for the results")
    group.add_argument(
        "--out", "--outdir", type=user_path, metavar="DIR", help="where to write (default: a folder named like the "
        "snapshot, beside it, and in it one for the way of inference)"
    )  # fmt: skip
    flags.add_data_root(group)


def add_inference(group: Any) -> None:
    group.add_argument(
        "--inference_mode", default="whole", choices=("whole", "sliding", "pooling"), help="each image in one pass; "
        "logits averaged over windows; or probabilities averaged over passes at several scales"
    )  # fmt: skip
    group.add_argument(
        "--scales", type=scales, default="1.0", metavar="X,Y,...", help="sizes at which sliding and pooling look at an "
        "image"
    )  # fmt: skip
    group.add_argument("--no_flip", action="store_true", help="sliding and pooling without mirror images")
    group.add_argument("--crop_size", type=COUNT, default=768, metavar="SIDE", help="of a sliding window at scale 1")
    group.add_argument(
        "--sliding_overlap", type=SHARE, default=1 / 3, metavar="SHARE", help="of neighbouring windows, below 1 "
        "(default: %(default).3g)"
    )  # fmt: skip
    group.add_argument(
        "--sliding_counts", choices=("pixel", "row"), help="what sums over windows are divided by: the windows over "
        "each pixel, or as published a count that mixes rows and columns [recipe]"
    )  # fmt: skip


def add_protocol(group: Any) -> None:
    group.add_argument("--memory", action="store_true", help="the snapshot must hold a memory")
    group.add_argument("--gumbel_off", action="store_true", help="the same as --gumbel_eval 0")
    flags.add_reading_flags(group)
    flags.add_image_in(group, told=": the snapshot must be so trained; decides where it does not say")


def scales(text: str) -> tuple[float, ...]:
    """'0.5,1.0,2.0' as numbers."""
    try:
        values = tuple(SCALE(part) for part in text.split(","))
    except (ValueError, argparse.ArgumentTypeError):
        values = ()
    if not values or len(set(values)) < len(values):
        raise argparse.ArgumentTypeError(
            f"{text}: give different numbers above 0, at most {MAX_SCALE}, with commas between, e.g. 0.5,1.0"
        )
    return values


def check_inference(parser: ArgumentParser, args: Namespace) -> None:
    if args.inference_mode == "whole" and args.scales != (1.0,):
        told = ",".join(map(str, args.scales))
        parser.error(f"--scales {told}: a whole image is seen at 1.0; add --inference_mode pooling (or sliding)")
    if args.sliding_overlap == 1:
        parser.error("--sliding_overlap 1: windows that overlap in full never arrive; give a share below 1")


def check_source(parser: ArgumentParser, args: Namespace) -> None:
    """Labelled domains, or images without labels, which the release calls by a name of its own."""
    if args.dataset == [VIDEO_FOLDER]:
        if args.images is None:
            parser.error(f"--dataset {VIDEO_FOLDER}: name the images by --videopath DIR")
        args.dataset = None
    if args.images is None:
        args.dataset = flags.data_sets(parser, args.dataset or ["cityscapes"], args.data_root)
    elif args.dataset:
        parser.error(f"--images {args.images} and --dataset {' '.join(args.dataset)}: give one of them at a time")
    elif args.gumbel_eval and args.gumbel_eval > 1:
        parser.error(f"--gumbel_eval {args.gumbel_eval}: repeats are for scores, images have none; give 0 or 1")
