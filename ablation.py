"""The release's command for figures: passes its flags on to ``eval.py --tsne`` and ``eval.py --mem_actmap``."""

import sys
from collections.abc import Sequence

import eval as evaluation
from engine.options.parser import Parser
from utils.options import COUNT
from utils.program import run_program

OTHERS = "Give --tsne or --mem_actmap, --snapshot and --dataset.  All flags: eval.py --help"


def main(argv: Sequence[str] | None = None) -> None:
    evaluation.main(translated(sys.argv[1:] if argv is None else argv))


def translated(argv: Sequence[str]) -> list[str]:
    """The command line for ``eval.py``, where ``--crop_size`` is a window and not the centre of an image."""
    parser = Parser(prog="ablation.py", description="Draw the figures of the paper.", epilog=OTHERS)
    parser.add_argument(
        "--crop_size",
        nargs=2,
        type=COUNT,
        default=(1280, 720),
        metavar=("WIDTH", "HEIGHT"),
        help="look only at the centre of an image, as eval.py's --centre_crop",
    )
    own, others = parser.parse_known_args(argv)
    return ["--centre_crop", *map(str, own.crop_size), *others]


if __name__ == "__main__":
    run_program("ablation.py", main)
