"""Train on source domains, validate on domains never seen: ``python train.py --help``."""

import shlex
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from engine.options.train_flags import parse_training
from engine.plan import plan
from engine.program import run_program
from utils.processes import rank


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_training(argv)
    if args.plan:
        told = plan(args)
        if rank() == 0:
            print(told)
        return
    from engine.training.run import train  # torch is loaded only once the flags are right
    from utils.distributed import stop

    folder = train(args)
    stop()
    if rank() == 0:
        print(f"done; score it with: {scoring(args, folder)}")


def scoring(args: Namespace, folder: Path) -> str:
    """The command that scores the last checkpoint in ``folder``."""
    command = ["python", "eval.py", "--snapshot", str(folder / "last.pth"), "--recipe", args.recipe]
    command += ["--data_root", str(args.data_root), "--dataset", *(args.val_dataset or args.dataset)]
    return shlex.join(command)


if __name__ == "__main__":
    run_program("train.py", main)
