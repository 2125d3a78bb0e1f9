"""The command line of ``train.py``: flags in, frozen ``TrainingOptions`` out."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from engine.options.parser import dataset_names, is_given
from engine.options.recipes import apply_recipe
from engine.options.release_flags import given_weights
from engine.options.resuming import flags_of_run, refuse_changes
from engine.options.training_checks import check_training
from engine.options.training_options import TrainingOptions, options_from
from engine.options.training_parser import training_parser
from methods import METHODS, method_name
from utils.errors import CommonError
from utils.log import log

# What --test_mode sets, unless a flag is given.
TRIAL = {"crop_size": 240, "bs_mult": 2, "max_iter": 60, "mem_init_batches": 4, "val_images": 12, "val_interval": 60}


def parse_training(argv: Sequence[str] | None = None) -> TrainingOptions:
    """The options of a command line, by default that of the program.  A run that goes on keeps its own flags.

    Exits with code 2 after a mistake that argparse sees; raises CommonError for other mistakes.
    """
    parser = training_parser()
    if is_given("--test_mode", argv):
        parser.set_defaults(**TRIAL)
    before = flags_of_run(argv)
    args = parser.parse_args(argv, namespace=Namespace(**before))
    settle(args, before)
    refuse_changes(vars(args), before, parser.get_default)
    args.covstat_val_dataset = list(dict.fromkeys(args.covstat_val_dataset or args.dataset))
    apply_recipe(args)
    options = options_from(args)
    check_training(options)
    return options


def settle(args: Namespace, before: Mapping[str, Any]) -> None:
    """Give flags that mean the same thing one form."""
    if not before:  # a run that goes on has all three flags, and may change none of them
        settle_method(args)
    if args.restore_optimizer and before:  # --snapshot was only another way to name the run
        args.snapshot = before.get("snapshot")
    if args.snapshot:
        args.snapshot = given_weights(args.snapshot).absolute()
    for names in ("dataset", "val_dataset", "covstat_val_dataset"):
        setattr(args, names, dataset_names(getattr(args, names) or (), args.data_root))
    tensorboard = vars(args).pop("tb_path", args.exp_root)
    if tensorboard != args.exp_root:
        place = args.exp_root / args.exp
        log.warning(f"note: --tb_path has no effect here; TensorBoard finds the runs with --logdir {place}")


def settle_method(args: Namespace) -> None:
    """Let ``--method`` and the authors' flags ``--mldg`` and ``--memory`` name the same method."""
    if args.method is None:
        args.method = method_name(mldg=args.mldg, memory=args.memory)
    entry = METHODS[args.method]
    for flag in ("mldg", "memory"):
        if getattr(args, flag) and not getattr(entry, flag):
            raise CommonError(f"--method {args.method} contradicts --{flag}: drop one of them")
    args.mldg, args.memory = entry.mldg, entry.memory
