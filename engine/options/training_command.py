"""The command line of ``train.py``: flags in, frozen ``TrainingOptions`` out."""

import argparse
import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from datasets.options import AugmentationOptions, DataOptions, SamplingOptions
from datasets.own.custom import is_custom
from datasets.registry import NAMES
from engine.options.parser import Parser, dataset_names, mistakes_of_all, refuse_if
from engine.options.recipes import apply_recipe, explain_defaults
from engine.options.release_flags import TRAINING_WITHOUT_EFFECT, add_letters, add_without_effect, given_weights
from engine.options.resuming import flags_of_run, refuse_changes
from engine.options.run_options import MachineOptions, RunOptions, ScoringOptions, StepOptions
from engine.options.training_checks import check_training
from engine.options.training_options import TrainingOptions, options_from
from loss.options import SegmentationOptions, WhiteningOptions
from methods import METHODS, method_name
from network.options import NetworkOptions
from optimizer.schedules import OptimizerOptions
from utils.log import log
from utils.options import add_options

SOURCES = ("gtav", "synthia")
UNSEEN = ("cityscapes", "bdd100k", "mapillary")
# What --test_mode sets, unless a flag is given.
TRIAL = {"crop_size": 240, "bs_mult": 2, "max_iter": 60, "mem_init_batches": 4, "val_images": 12, "val_interval": 60}


@mistakes_of_all()
def parse_family(argv: Sequence[str] | None = None) -> list[TrainingOptions]:
    """The options of one run or, with ``--seeds N``, of N runs, which go on where an earlier command was stopped."""
    argv = sys.argv[1:] if argv is None else argv
    given, _ = training_parser().parse_known_args(argv)
    if given.seeds is None:
        return [parse_training(argv)]
    refuse_if(given.resume not in (None, "auto"), "--seeds: every run goes on by itself; drop --resume")
    seeds = range(given.seed, given.seed + given.seeds)
    own = [["--seed", str(seed), "--exp", f"{given.exp}/seed_{seed}", "--resume", "auto"] for seed in seeds]
    return [parse_training([*argv, *flags]) for flags in own]


@mistakes_of_all()
def parse_training(argv: Sequence[str] | None = None) -> TrainingOptions:
    """The options of ``argv``, by default of ``sys.argv``.  A run that goes on keeps its own flags.

    Exits with code 2 after a mistake that argparse sees; raises CommonError for other mistakes.
    """
    argv = sys.argv[1:] if argv is None else argv
    parser = training_parser()
    if "--test_mode" in argv:
        parser.set_defaults(**TRIAL)
    before = flags_of_run(argv, parser)
    args = parser.parse_args(argv, namespace=Namespace(**before))
    refuse_if(args.restore_optimizer, "--restore_optimizer: name the run by --resume RUN, instead of --snapshot")
    if args.val_dataset is None:
        own = any(map(is_custom, args.dataset))  # those of the paper may be absent, or have other classes
        args.val_dataset = () if own else UNSEEN
        validated = ", ".join(["held-out images of the sources", *args.val_dataset])
        log.warning(f"note: no --val_dataset, so these are validated: {validated}")
    for names in ("dataset", "val_dataset", "covstat_val_dataset"):
        setattr(args, names, dataset_names(getattr(args, names) or (), args.data_root))
    if args.snapshot:
        args.snapshot = given_weights(args.snapshot).absolute()
    if before:
        refuse_changes(vars(args), before)
    else:
        settle_method(args)
    args.covstat_val_dataset = list(dict.fromkeys(args.covstat_val_dataset or args.dataset))
    apply_recipe(args)
    options = options_from(args)
    check_training(options)
    return options


def training_parser() -> Parser:
    parser = Parser(
        prog="train.py",
        description="Train on source domains, validate on domains never seen. --mldg --memory is Pin the Memory.",
    )
    parser.set_defaults(checkpoint=None)  # --resume sets it
    data = parser.add_argument_group("data")
    sources, targets = data.add_mutually_exclusive_group(), data.add_mutually_exclusive_group()
    known = f"sources (default: {' '.join(SOURCES)}; of {NAMES})"
    sources.add_argument("--dataset", nargs="+", default=list(SOURCES), help=known)
    add_letters(sources, "--source", "dataset")
    usual = f"(default: {' '.join(UNSEEN)}, or none if a source is your own data)"
    targets.add_argument("--val_dataset", nargs="*", help=f"unseen domains, for validations {usual}")
    add_letters(targets, "--target", "val_dataset")
    add_options(data, DataOptions)
    add_options(data, AugmentationOptions)
    sampling = parser.add_argument_group("sampling")
    add_options(sampling, SamplingOptions)
    # The release's other splits leave no held-out images that could choose the best checkpoint.
    sampling.add_argument("--cv", type=int, choices=(0,), default=0, help=argparse.SUPPRESS)
    sampling.add_argument("--city_mode", choices=("train",), default="train", help=argparse.SUPPRESS)
    add_options(parser.add_argument_group("evaluation"), ScoringOptions)
    add_options(parser.add_argument_group("network"), NetworkOptions)
    add_method_flags(parser.add_argument_group("method"))
    add_options(parser.add_argument_group("segmentation loss"), SegmentationOptions)
    add_options(parser.add_argument_group("whitening"), WhiteningOptions)
    add_options(parser.add_argument_group("optimisation"), OptimizerOptions)
    run = parser.add_argument_group("run")
    add_options(run, RunOptions)
    run.add_argument(
        "--resume", metavar="auto|PATH", help="continue the newest run of --exp, or this run or checkpoint"
    )
    run.add_argument("--restore_optimizer", action="store_true", help=argparse.SUPPRESS)
    trial = " ".join(f"--{flag} {value}" for flag, value in TRIAL.items())
    run.add_argument("--test_mode", action="store_true", help=f"a quick trial, with other defaults: {trial}")
    machine = parser.add_argument_group("machine")
    add_options(machine, MachineOptions)
    add_options(machine, StepOptions)
    add_without_effect(parser, TRAINING_WITHOUT_EFFECT)
    explain_defaults(parser)
    return parser


def add_method_flags(group: Any) -> None:
    group.add_argument("--method", choices=tuple(METHODS), help="the method by name, instead of --mldg and --memory")
    group.add_argument("--mldg", action="store_true", help="split the domains into meta-train and meta-test")
    group.add_argument("--memory", action="store_true", help="add the categorical memory")
    added: set[str] = set()
    for entry in METHODS.values():  # methods may share options
        added |= add_options(group, entry.options, without=added)


def settle_method(args: Namespace) -> None:
    """Let ``--method`` and the authors' flags ``--mldg`` and ``--memory`` name the same method."""
    args.method = args.method or method_name(mldg=args.mldg, memory=args.memory)
    entry = METHODS[args.method]
    for flag in ("mldg", "memory"):
        contradicts = getattr(args, flag) and not getattr(entry, flag)
        refuse_if(contradicts, f"--method {args.method} contradicts --{flag}: drop one of them")
    args.mldg, args.memory = entry.mldg, entry.memory
