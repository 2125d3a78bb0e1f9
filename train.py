"""Train on source domains, validate on domains never seen: ``python train.py --help``."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from engine.options.training_command import parse_training
from engine.options.training_options import TrainingOptions
from engine.plan import plan
from utils.log import log
from utils.program import run_program


def main(argv: Sequence[str] | None = None) -> None:
    options = parse_training(argv)
    if options.run.plan:
        log.info(plan(options))
        return
    from engine.training.run import train  # loads torch, only once the flags are right
    from utils.distributed import stop

    folder = train(options)
    stop()
    log.info(f"done; score it with: {scoring_command(options, folder)}")


def scoring_command(options: TrainingOptions, folder: Path) -> str:
    """The command that scores the last checkpoint in ``folder``."""
    run = options.run
    command = ["python", "eval.py", "--snapshot", str(folder / "last.pth"), "--recipe", run.recipe]
    command += ["--data_root", str(options.data.root), "--dataset", *(run.targets or run.sources)]
    return shlex.join(command)


if __name__ == "__main__":
    run_program("train.py", main)
