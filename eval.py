"""Score a checkpoint on labelled domains, or label the images of a folder: ``python eval.py --help``."""

from collections.abc import Sequence

from engine.options.evaluation_options import parse_evaluation
from utils.program import run_program


def main(argv: Sequence[str] | None = None) -> None:
    options = parse_evaluation(argv)
    from engine.evaluating.assessment import evaluate  # loads torch, only once the flags are right
    from engine.evaluating.suite import score_suite
    from utils.distributed import stop

    if options.suite.name or options.suite.runs:
        score_suite(options)
    else:
        evaluate(options)
    stop()


if __name__ == "__main__":
    run_program("eval.py", main)
