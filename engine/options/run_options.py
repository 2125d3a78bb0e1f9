"""Options of a run and of the machine that it uses."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.options import home, lasting_path, user_path
from engine.options.recipes import RECIPE_HELP, RECIPES
from engine.tracker import TRACKERS
from utils.options import ANY, COUNT, number, option
from utils.processes import own_cores

EXPERIMENTS = home() / "experiment_pinmem"
EITHER = {"action": argparse.BooleanOptionalAction}  # --NAME and --no-NAME


def usual_workers() -> int:
    return min(8, max(1, own_cores() - 1))


@dataclass(frozen=True)
class MachineOptions:
    """How this machine computes."""

    device: str = option("auto", "auto, cpu, cuda, cuda:1, mps")
    amp: str | None = option(
        None, "auto: bf16 on GPUs that have it; tf32 and off: float32 [recipe]", choices=("auto", "bf16", "tf32", "off")
    )
    workers: int = option(
        usual_workers, "processes that load data, for each process that trains", flag="num_workers", type=ANY
    )


@dataclass(frozen=True)
class StepOptions:
    """How a training step trades memory and time."""

    parts: int = option(
        1, "sum the gradients of N parts of a batch: less memory; not with --memory", flag="accumulate", type=COUNT
    )
    recompute: bool = option(
        False,
        "compute the backbone's activations again for the gradient: less memory",
        flag="checkpoint_activations",
        **EITHER,
    )
    compile: bool = option(False, "let torch compile the network, in a single process", **EITHER)
    deterministic: bool = option(False, "use algorithms that give the same bits every time; slower", **EITHER)


@dataclass(frozen=True)
class ScoringOptions:
    """How images are scored."""

    mapillary_crop: int = option(1536, "side of the crop on which Mapillary is scored; 0: whole images", type=ANY)
    mapillary_pad: str | None = option(
        None, "label of the pixels that pad this crop [recipe]", choices=("ignore", "road")
    )
    gumbel_eval: int | None = option(
        None, "memory reads: 0 without noise, 1 with noise, N above 1: N times with noise [recipe]", type=ANY
    )


@dataclass(frozen=True)
class RunOptions:
    """A training run: its data sets, its length, what it writes and when."""

    recipe: str = option("repaired", RECIPE_HELP, choices=tuple(RECIPES))
    max_iter: int | None = option(None, "iterations (default: the published length)", type=COUNT)
    first_memory_batches: int | None = option(
        None, "batches that write the first memory [recipe]", flag="mem_init_batches", type=COUNT
    )
    snapshot: Path | None = option(
        None, "start from the weights and the memory of this checkpoint, a file or a folder", type=user_path
    )
    fresh: tuple[str, ...] = option(
        (), "parts of --snapshot that start anew (default: none)", nargs="+", choices=("classifier", "memory")
    )
    exp: str = option("default", "name of the experiment")
    exp_root: Path = option(EXPERIMENTS, "folder of all runs", alias="ckpt", type=lasting_path)
    save_interval: int = option(500, "iterations between checkpoints", type=COUNT)
    keep: int = option(2, "checkpoints that stay, besides the best", type=COUNT)
    val_interval: int = option(0, "iterations between validations; 0: a tenth of the run", type=ANY)
    val_images: int = option(100, "images per domain in a validation; 0: all", type=ANY)
    log_interval: int = option(20, "iterations between logs", type=COUNT)
    seed: int = option(304, "seed of everything random", type=number(int, 0, 2**63 - 1))
    seeds: int | None = option(
        None, "N runs, one after the other, from --seed on, in EXP/seed_K; repeat the command to go on", type=COUNT
    )
    check: bool = option(True, "train without checking a sample of the files first", flag="no_check")
    dump_samples: bool = option(
        False, "write the samples of the first four iterations as pictures", flag="dump_augmentation_images"
    )
    tracker: str = option("none", "also send the rows of the log to this package", choices=("none", *TRACKERS))
    plan: bool = option(False, "print what would be done, and end")
    sources: tuple[str, ...] = ()  # names of the training data sets
    targets: tuple[str, ...] = ()  # names of the data sets that validation scores, besides the sources
    checkpoint: Path | None = None  # the checkpoint from which a run goes on
    recipe_values: Mapping[str, Any] | None = None  # what the recipe's flags are in this run
