"""Which run ``--resume`` means, and with what flags it was started.  Imports no torch."""

import argparse
import json
import shlex
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from engine.options.flags import EXPERIMENTS, lasting_path, user_path
from utils.errors import UsageError
from utils.processes import rank

NOT_KEPT = {"checkpoint", "resume", "restore_optimizer", "plan", "local_rank"}  # flags that do not belong to a run
FREE = NOT_KEPT | {  # that may differ from those of the run: they change neither weights nor their order of change
    "data_root", "split_file", "device", "num_workers", "exp",
    "exp_root", "max_iter", "save_interval", "keep", "log_interval", "val_dataset", "val_interval", "val_images",
    "mapillary_crop", "mapillary_pad", "gumbel_eval", "dump_augmentation_images", "no_check", "skip_bad",
    "checkpoint_activations", "compile", "deterministic",
}  # fmt: skip
PATHS = {"data_root", "exp_root", "snapshot"}


def flags_of_run(argv: Sequence[str] | None) -> dict[str, Any]:
    """The flags of the run that the command line continues, with ``checkpoint`` as its newest one; {} for none."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, prog="train.py", usage=argparse.SUPPRESS)
    parser.add_argument("--resume")
    parser.add_argument("--exp", default="default")
    parser.add_argument("--exp_root", "--ckpt", type=lasting_path, default=EXPERIMENTS)
    parser.add_argument("--snapshot", type=user_path)
    parser.add_argument("--restore_optimizer", action="store_true")
    asked, _ = parser.parse_known_args(argv)
    if asked.restore_optimizer and asked.resume is None:
        asked.resume = run_of(asked.snapshot)
    if asked.resume is None:
        return {}
    if asked.resume != "auto":
        checkpoint = newest_of(user_path(asked.resume))
    elif (checkpoint := newest_run(asked.exp_root / asked.exp)) is None:
        place = asked.exp_root / asked.exp
        if rank() == 0:
            print(f"note: --resume auto: no checkpoint below {place}; a new run starts", file=sys.stderr)
        return {}
    path = checkpoint.with_name("flags.json")
    try:
        flags = json.loads(path.read_text())["flags"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"--resume: {path} cannot be read ({error}); it belongs to every run of train.py") from error
    paths = {key: Path(flags[key]) for key in PATHS & flags.keys() if flags[key] is not None}
    return flags | paths | {"checkpoint": checkpoint}


def command_to_go_on(folder: Path, processes: int) -> str:
    """What continues the run in ``folder`` with as many processes."""
    how = "python" if processes == 1 else f"torchrun --nproc_per_node {processes}"
    return f"{how} train.py --resume {shlex.quote(str(folder))}"


def run_of(snapshot: Path | None) -> str:
    """The path of a checkpoint whose run ``--restore_optimizer`` means to continue, for ``--resume``."""
    if snapshot is None:
        raise UsageError("--restore_optimizer: says nothing without --snapshot; name a run by --resume RUN instead")
    if not snapshot.with_name("flags.json").is_file():
        raise UsageError(
            f"--restore_optimizer: {snapshot} does not lie in a run of train.py, and other files, the authors' too, "
            "cannot be resumed exactly; drop the flag to start from the weights"
        )
    if rank() == 0:
        print("note: --restore_optimizer: the run goes on, as with --resume", file=sys.stderr)
    return str(snapshot)


def newest_run(experiment: Path) -> Path | None:
    """The newest checkpoint of the newest run of an experiment that has one."""
    runs = sorted({path.parent for path in experiment.glob("*/iteration_*.pth")})
    return checkpoints(runs[-1])[-1] if runs else None


def newest_of(path: Path) -> Path:
    """The checkpoint from which the run goes on that ``path``, its folder or its newest checkpoint, names."""
    folder = path if path.is_dir() else path.parent
    found = checkpoints(folder)
    if not path.exists() or not found:
        raise UsageError(f"--resume {path}: no checkpoint there; give the folder of a run, or one of its checkpoints")
    if path != folder and path.name != "last.pth" and not path.samefile(found[-1]):
        raise UsageError(
            f"--resume {path}: the run is already at {found[-1].name}; give its folder to go on from there, or "
            "move the newer checkpoints away"
        )
    return found[-1]


def checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("iteration_*.pth"))


def refuse_changes(args: Namespace, before: dict[str, Any], defaults: Callable[[str], Any]) -> None:
    """A run that goes on is the run that was started: nothing that shapes it may differ.

    ``defaults`` gives those of flags by name: a run of an older version has not heard of all of them.
    """
    if not before:
        return
    done = int(before["checkpoint"].stem.partition("_")[2])
    if args.max_iter < done:
        raise UsageError(f"--max_iter {args.max_iter}: the run has done {done} iterations already; give more, or none")
    if args.lr_schedule == "poly" and args.max_iter > max(before["decay_horizon"], before["max_iter"]):
        raise UsageError(
            f"--max_iter {args.max_iter}: under --lr_schedule poly the learning rate of this run is 0 from iteration "
            f"{before['decay_horizon']} on; start a new run"
        )
    for name, new in vars(args).items():
        old = before.get(name, defaults(name))
        if (new or None) != (old or None) and name not in FREE:
            raise UsageError(
                f"--{name}: the run {before['checkpoint'].parent} was started with {old}, not {new}; leave the flag "
                "out, or start a new run without --resume"
            )
