"""Train on source domains, validate on domains never seen: ``python train.py --help``."""

import shlex
from collections.abc import Sequence

from engine.options.training_command import parse_family
from engine.options.training_options import TrainingOptions
from engine.plan import plan
from utils.log import log
from utils.program import run_program


def main(argv: Sequence[str] | None = None) -> None:
    family = parse_family(argv)
    if family[0].run.plan:
        log.info(plan(family[0]))
        return
    from engine.training.run import train, train_family  # loads torch, only once the flags are right
    from utils.distributed import stop

    if family[0].run.seeds:
        what = ["--runs", *map(str, train_family(family))]
    else:
        what = ["--snapshot", str(train(family[0]) / "last.pth")]
    stop()
    log.info(f"done; score it with: {scoring_command(family[0], what)}")


def scoring_command(options: TrainingOptions, what: Sequence[str]) -> str:
    """The command that scores the last checkpoints; ``what`` are the flags that name these."""
    run = options.run
    command = ["python", "eval.py", *what, "--recipe", run.recipe]
    command += ["--data_root", str(options.data.root), "--dataset", *(run.targets or run.sources)]
    return shlex.join(command)


if __name__ == "__main__":
    run_program("train.py", main)
