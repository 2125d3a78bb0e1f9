"""Options of a run and of the machine that it uses."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.options import ANY, COUNT, number, option
from utils.processes import own_cores


@dataclass(frozen=True)
class MachineOptions:
    """How this machine computes."""

    device: str = option("auto", "auto, cpu, cuda, cuda:1, mps")
    amp: str | None = option(
        None,
        "auto: bf16 on CUDA; tf32: float32 with products rounded to TF32 on CUDA, in the memory too; off: true float32 "
        "[recipe]",
        choices=("auto", "bf16", "tf32", "off"),
    )
    workers: int = option(
        None,
        "processes that load data, for each process that trains",
        factory=lambda: min(8, max(1, own_cores() - 1)),
        flag="num_workers",
        type=ANY,
        metavar="N",
    )


@dataclass(frozen=True)
class StepOptions:
    """How a training step trades memory and time."""

    parts: int = option(
        1,
        "process each batch in N parts and sum their gradients: less memory, the same step, except that batch norm "
        "sees one part at a time; not with --memory",
        flag="accumulate",
        type=COUNT,
        metavar="N",
    )
    recompute: bool = option(
        False,
        "keep only the outputs of the backbone's stages and compute the rest again for the gradient: less memory, the "
        "same step, one more forward pass of the backbone; --compile leaves the backbone out then",
        flag="checkpoint_activations",
        action=argparse.BooleanOptionalAction,
    )
    compile: bool = option(
        False,
        "let torch compile the network, which takes minutes at the start; for a single process, not in validations",
        action=argparse.BooleanOptionalAction,
    )
    deterministic: bool = option(
        False,
        "use only algorithms that give the same bits every time on a GPU; they are slower",
        action=argparse.BooleanOptionalAction,
    )


@dataclass(frozen=True)
class ScoringOptions:
    """How images are scored."""

    mapillary_crop: int = option(
        1536, "side of the square crop on which Mapillary is scored; 0: whole images", type=ANY, metavar="SIDE"
    )
    mapillary_pad: str | None = option(
        None, "label of the pixels that pad this crop [recipe]", choices=("ignore", "road")
    )
    gumbel_eval: int | None = option(
        None,
        "memory reads in evaluation: 0 without noise, 1 with noise, K above 1: K times with noise [recipe]",
        type=ANY,
        metavar="K",
    )


@dataclass(frozen=True)
class RunOptions:
    """A training run: its data sets, its length, what it writes and when."""

    max_iter: int | None = option(None, "iterations (default: the published length)", type=COUNT, metavar="N")
    first_memory_batches: int | None = option(
        None, "batches that write the first memory [recipe]", flag="mem_init_batches", type=COUNT, metavar="N"
    )
    exp: str = option("default", "name of the experiment", metavar="NAME")
    save_interval: int = option(500, "iterations between checkpoints", type=COUNT, metavar="N")
    keep: int = option(2, "checkpoints that stay, besides the best", type=COUNT, metavar="K")
    val_interval: int = option(0, "iterations between validations; 0: a tenth of the run", type=ANY, metavar="N")
    val_images: int = option(100, "images per domain in a validation; 0: all", type=ANY, metavar="N")
    log_interval: int = option(20, "iterations between logs", type=COUNT, metavar="N")
    seed: int = option(304, "seed of everything random", type=number(int, 0, 2**63 - 1))
    check: bool = option(True, "train without checking a sample of the files first", flag="no_check")
    dump_samples: bool = option(
        False,
        "write the samples of the first four iterations, with their labels in colours, into the folder of the run",
        flag="dump_augmentation_images",
    )
    exp_root: Path = Path()  # the folder of all runs
    sources: tuple[str, ...] = ()  # names of the training data sets
    targets: tuple[str, ...] = ()  # names of the data sets that validation scores, besides the sources
    snapshot: Path | None = None  # the checkpoint whose weights start a new run
    checkpoint: Path | None = None  # the checkpoint from which a run goes on
    plan: bool = False  # only say what would be done
    recipe: str = "repaired"
    recipe_values: Mapping[str, Any] | None = None  # what the recipe's flags are in this run
