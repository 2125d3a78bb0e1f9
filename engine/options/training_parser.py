"""The flags of ``train.py``."""

import argparse
from typing import Any

from datasets.options import AugmentationOptions, DataOptions, SamplingOptions, lasting_path, user_path
from datasets.registry import SPECS
from engine.options.parser import OneFolder, Parser
from engine.options.recipes import add_recipe
from engine.options.release_flags import TRAINING_WITHOUT_EFFECT, add_letters, add_without_effect
from engine.options.resuming import EXPERIMENTS
from engine.options.run_options import MachineOptions, RunOptions, ScoringOptions, StepOptions
from loss.options import SegmentationOptions, WhiteningOptions
from methods import METHODS
from network.options import NetworkOptions
from optimizer.schedules import OptimizerOptions
from utils.options import ANY, add_options

OWN = "custom:PATH for a folder of your own"


def training_parser() -> Parser:
    parser = Parser(
        prog="train.py",
        description="Train on source domains, validate on domains never seen. Methods: without --mldg and --memory the "
        "baseline, with --mldg meta-learning, with --memory the memory alone, with both Pin the Memory.",
    )
    parser.set_defaults(checkpoint=None)  # --resume sets it
    add_recipe(parser)
    data = parser.add_argument_group("data")
    add_dataset_flags(data)
    add_options(data, DataOptions)
    add_options(data, AugmentationOptions)
    sampling = parser.add_argument_group("sampling")
    add_options(sampling, SamplingOptions)
    sampling.add_argument("--cv", type=ANY, default=0, metavar="0", help="split of Cityscapes: 0, the standard one")
    sampling.add_argument("--city_mode", default="train", metavar="train", help="part of Cityscapes to train on: train")
    add_options(parser.add_argument_group("evaluation"), ScoringOptions)
    network = parser.add_argument_group("network")
    add_options(network, NetworkOptions)
    network.add_argument(
        "--snapshot",
        type=user_path,
        metavar="FILE",
        help="start from the weights and the memory of this checkpoint, of train.py or of the authors, instead of a "
        "backbone's weights",
    )
    add_method_flags(parser.add_argument_group("method"))
    add_options(parser.add_argument_group("segmentation loss"), SegmentationOptions)
    add_options(parser.add_argument_group("whitening"), WhiteningOptions)
    add_options(parser.add_argument_group("optimisation"), OptimizerOptions)
    add_run_flags(parser.add_argument_group("run"))
    machine = parser.add_argument_group("machine")
    add_options(machine, MachineOptions)
    add_options(machine, StepOptions)
    add_without_effect(parser, TRAINING_WITHOUT_EFFECT)
    return parser


def add_dataset_flags(group: Any) -> None:
    sources = group.add_mutually_exclusive_group()
    sources.add_argument(
        "--dataset",
        nargs="+",
        default=["gtav", "synthia"],
        metavar="NAME",
        help=f"sources, of {', '.join(SPECS)}, or {OWN}",
    )
    add_letters(sources, "--source", "dataset")
    targets = group.add_mutually_exclusive_group()
    targets.add_argument(
        "--val_dataset",
        nargs="*",
        default=["cityscapes", "bdd100k", "mapillary"],
        metavar="NAME",
        help="domains never seen in training, which validations score",
    )
    add_letters(targets, "--target", "val_dataset")


def add_method_flags(group: Any) -> None:
    group.add_argument("--method", choices=tuple(METHODS), help="the method by name, instead of --mldg and --memory")
    group.add_argument("--mldg", action="store_true", help="split the domains into meta-train and meta-test")
    group.add_argument("--memory", action="store_true", help="add the categorical memory")
    added: set[str] = set()
    for entry in METHODS.values():  # methods may share options
        added |= add_options(group, entry.options, without=added)


def add_run_flags(group: Any) -> None:
    add_options(group, RunOptions)
    group.add_argument(
        "--exp_root", "--ckpt", type=lasting_path, default=EXPERIMENTS, metavar="DIR", action=OneFolder, help="all runs"
    )
    group.add_argument("--tb_path", type=lasting_path, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    group.add_argument(
        "--resume",
        metavar="auto|PATH",
        help="continue a run: the newest of --exp, or that folder or checkpoint; its flags need not be repeated",
    )
    group.add_argument("--restore_optimizer", action="store_true", help="with --snapshot: the same as --resume")
    group.add_argument(
        "--test_mode",
        action="store_true",
        help="a quick trial: crop 240, 2 images per domain, 60 iterations, 4 batches for the first memory, 12 images "
        "per validation; flags that are given win",
    )
    group.add_argument("--plan", action="store_true", help="say what would be done, and end")
