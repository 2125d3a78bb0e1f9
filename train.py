"""Train on source domains, validate on domains never seen: ``python train.py --help``."""

import shlex
from collections.abc import Sequence

from engine.main import run_program
from engine.train_flags import parse_training


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_training(argv)
    from engine.training import train  # torch is loaded only once the flags are right

    folder = train(args)
    command = ["python", "eval.py", "--snapshot", str(folder / "last.pth"), "--recipe", args.recipe]
    command += ["--data_root", str(args.data_root), "--dataset", *(args.val_dataset or args.dataset)]
    print(f"done; score it with: {shlex.join(command)}")


if __name__ == "__main__":
    run_program("train.py", main)
