"""Which run ``--resume`` continues, and which of its flags may change.  Imports no torch."""

import argparse
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from checkpoints import NUMBERED
from datasets.options import user_path
from engine.options.parser import Parser, refuse_if
from methods import method_name
from utils.errors import UsageError
from utils.forms import ANYTHING, WHOLE, read_json
from utils.log import log

# Flags that do not belong to a run.
NOT_KEPT = {"checkpoint", "resume", "restore_optimizer", "plan", "local_rank", "seeds"}
FREE = NOT_KEPT | {  # flags that may change: they decide neither the weights nor the order in which these change
    "data_root", "split_file", "device", "num_workers", "exp", "exp_root", "max_iter", "save_interval", "keep",
    "log_interval", "val_dataset", "val_interval", "val_images", "mapillary_crop", "mapillary_pad", "gumbel_eval",
    "dump_augmentation_images", "no_check", "skip_bad", "checkpoint_activations", "compile", "deterministic",
    "tracker", "pretrained_backbone",  # the file of a frozen encoder may have moved
}  # fmt: skip
FLAGS = {"max_iter": WHOLE, "decay_horizon": WHOLE, str: object}  # the parser checks the others
FILE = {"flags": FLAGS, "training data": (..., {str: ANYTHING}), str: object}  # the form (utils/forms.py) of flags.json


def flags_of_run(argv: Sequence[str], known: Parser) -> dict[str, Any]:
    """The flags of the run that the command line continues, with its newest ``checkpoint``; {} for a new run."""
    given, _ = known.parse_known_args(argv)
    if given.resume is None:
        return {}
    if given.resume == "auto":
        experiment = given.exp_root / given.exp
        runs = sorted((path.parent for path in experiment.glob(f"*/{NUMBERED}")), key=age)
        if not runs:
            log.warning(f"note: --resume auto: no checkpoint below {experiment}; a new run starts")
            return {}
        checkpoint = newest_of(runs[-1])
    else:
        checkpoint = newest_of(user_path(given.resume))
    return stored_flags(checkpoint.parent, known) | {"checkpoint": checkpoint}


def age(run: Path) -> tuple[bool, str]:
    """The order of runs; folders that do not bear the time of their start, as a user's copies, come first."""
    return re.fullmatch(r"[\d_-]+", run.name) is not None, run.name


def newest_of(path: Path) -> Path:
    """The newest checkpoint of the run that ``path``, its folder or that checkpoint, names."""
    folder = path if path.is_dir() else path.parent
    checkpoints = sorted(folder.glob(NUMBERED))
    if not path.exists() or not checkpoints:
        raise UsageError(
            f"--resume {path}: no checkpoint there; give the folder of a run, with its iteration_*.pth, or one of these"
        )
    newest = checkpoints[-1]
    refuse_if(
        path != folder and path.name != "last.pth" and not path.samefile(newest),
        f"--resume {path}: the run is already at {newest.name}; give its folder, or move the newer checkpoints away",
    )
    return newest


def stored_flags(folder: Path, known: Parser) -> dict[str, Any]:
    """The flags of the run in ``folder``; those that its version did not have are at their defaults."""
    flags = known.parse_stored(run_file(folder)["flags"], folder / "flags.json")
    chosen = method_name(mldg=bool(flags["mldg"]), memory=bool(flags["memory"]))
    adjusted = 0.0 if flags["logit_adjust"] is None else flags["logit_adjust"]  # older runs of the recipe tuned: none
    return flags | {"method": flags["method"] or chosen, "logit_adjust": adjusted}  # older runs have neither flag


def run_file(folder: Path) -> dict[str, Any]:
    """The content of ``flags.json`` in the ``folder`` of a run."""
    return read_json(folder / "flags.json", FILE, remedy="it belongs to every run of train.py")


def refuse_edits(folder: Path, saved: Mapping[str, Any]) -> None:
    """UsageError if ``flags.json``, from which a run goes on, has other flags than were ``saved`` in its checkpoint."""
    for name, value in run_file(folder)["flags"].items():
        there = saved.get(name, value)  # an older version may lack it
        refuse_if(
            there != value and name not in FREE,
            f"{folder / 'flags.json'}: --{name} is {value}, but {there} in the checkpoint; put that back",
        )


def flags_to_keep(args: argparse.Namespace) -> dict[str, Any]:
    """The flags that belong to a run, as ``flags.json`` and checkpoints hold them."""
    flags = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()}
    return {key: value for key, value in flags.items() if key not in NOT_KEPT}


def command_to_continue(folder: Path, processes: int) -> str:
    """The command that continues the run in ``folder`` with as many processes."""
    launcher = "python" if processes == 1 else f"torchrun --nproc_per_node {processes}"
    return f"{launcher} train.py --resume {shlex.quote(str(folder))}"


def refuse_changes(flags: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    """UsageError if a flag that shapes the run differs from the run's own."""
    done, length, run = int(before["checkpoint"].stem.partition("_")[2]), flags["max_iter"], before["checkpoint"].parent
    remedy = "give more, or leave it out"
    refuse_if(length < done, f"--max_iter {length}: the run has done {done} iterations already; {remedy}")
    if flags["lr_schedule"] == "poly":
        end = before["decay_horizon"]
        zero = f"under --lr_schedule poly the learning rate of this run is 0 from iteration {end} on; start a new run"
        refuse_if(length > max(end, before["max_iter"]), f"--max_iter {length}: {zero}")
    for name, new in flags.items():
        old = before.get(name)
        changed = (new or None) != (old or None) and name not in FREE
        refuse_if(
            changed, f"--{name}: the run {run} was started with {old}, not {new}; leave it out, or start a new run"
        )
