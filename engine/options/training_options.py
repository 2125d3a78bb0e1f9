"""All options of a training run, in frozen dataclasses."""

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datasets.options import AugmentationOptions, DataOptions, SamplingOptions
from engine.options.recipes import RECIPES
from engine.options.resuming import flags_to_keep
from engine.options.run_options import MachineOptions, RunOptions, ScoringOptions, StepOptions
from loss.options import SegmentationOptions, WhiteningOptions
from methods import METHODS, MethodEntry
from network.options import NetworkOptions
from optimizer.schedules import OptimizerOptions
from utils.options import fill


@dataclass(frozen=True)
class TrainingOptions:
    """All that ``train.py`` was asked for.  Nothing changes it after parsing."""

    run: RunOptions
    data: DataOptions
    augmentation: AugmentationOptions
    sampling: SamplingOptions
    network: NetworkOptions
    method_name: str
    method: Any  # the options of the method, of the class that its entry in METHODS names
    segmentation: SegmentationOptions
    whitening: WhiteningOptions
    optimizer: OptimizerOptions
    step: StepOptions
    scoring: ScoringOptions
    machine: MachineOptions
    flags: Mapping[str, Any]  # all flags by name, as flags.json and checkpoints keep them

    @property
    def entry(self) -> MethodEntry:
        return METHODS[self.method_name]


def options_from(args: Namespace) -> TrainingOptions:
    names = (*args.dataset, *args.val_dataset, *args.covstat_val_dataset)
    recipe = {name: getattr(args, name, usual) for name, usual in RECIPES[args.recipe].items()}
    return fill(
        TrainingOptions,
        args,
        run=fill(
            RunOptions,
            args,
            sources=tuple(args.dataset),
            targets=tuple(args.val_dataset),
            recipe_values=recipe | {"decay_horizon": args.decay_horizon},
        ),
        data=fill(DataOptions, args, names=names, trained_on=tuple(args.dataset)),
        method_name=args.method,
        method=fill(METHODS[args.method].options, args),
        flags=flags_to_keep(args),
    )
