"""Write a trained network for programs without our code: as an ONNX file, as a program of torch.export, or both.

python -m tools.export RUN/last.pth OUT.onnx --program OUT.pt2.  Each file is compared with the network at once.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from datasets.options import user_path
from engine.options.parser import Parser
from tools.convert import add_facts
from utils.errors import UsageError
from utils.packages import need
from utils.program import run_program

PACKAGES = "onnx", "onnxscript", "onnxruntime"


def main(argv: Sequence[str] | None = None) -> None:
    args = export_parser().parse_args(argv)
    check_targets(args.onnx, args.program, force=args.force)
    for package in PACKAGES if args.onnx else ():
        remedy = f"install it with `pip install {' '.join(PACKAGES)}`, or give --program alone"
        need(package, f"OUT {args.onnx}", remedy=remedy)
    from checkpoints.adoption import as_ours  # imports torch, which the parser does without
    from checkpoints.run_files import read_checkpoint
    from engine.exporting import export

    facts = {"arch": args.arch, "output_stride": args.output_stride, "wt_layer": args.wt_layer}
    content = read_checkpoint(args.source, "CKPT")
    ours = as_ours(content, args.source, **facts, image_in=args.image_in or None)
    export(ours, args.source, onnx=args.onnx, program=args.program)


def export_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m tools.export", description=__doc__)
    parser.add_argument("source", type=user_path, metavar="CKPT", help="the checkpoint, ours or the authors'")
    parser.add_argument("onnx", type=user_path, nargs="?", metavar="OUT.onnx", help="the ONNX file to write")
    parser.add_argument("--program", type=user_path, metavar="OUT.pt2", help="the program of torch.export to write")
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    add_facts(parser)
    return parser


def check_targets(onnx: Path | None, program: Path | None, *, force: bool) -> None:
    """UsageError if there is nothing to write, a name has the wrong ending, or a file exists.  Makes their folders."""
    if onnx is program is None:
        raise UsageError("nothing to write; give OUT.onnx, or --program OUT.pt2, or both")
    for flag, path, suffix in (("OUT", onnx, ".onnx"), ("--program", program, ".pt2")):
        if path is None:
            continue
        if path.suffix != suffix:
            raise UsageError(f"{flag} {path}: give a name that ends in {suffix}")
        if path.exists() and not force:
            raise UsageError(f"{flag} {path}: exists already; name another file, or add --force")
        path.parent.mkdir(parents=True, exist_ok=True)


if __name__ == "__main__":
    run_program("tools.export", main)
