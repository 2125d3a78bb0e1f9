"""Translate a checkpoint into another format: ours, the authors', or a folder to share.

python -m tools.convert IN OUT writes ours.  --to release: a file for the authors' code.  --to hub: a folder with
model.safetensors, config.json and a model card, as Hugging Face has them.  Weights and memory stay the same numbers.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from checkpoints import CARD
from datasets.options import user_path
from engine.options.parser import Parser
from network.archs import TIMM
from network.options import NORM_FLAG, NORM_HELP
from tools.model_card import model_card
from utils.errors import UsageError, first_line
from utils.program import run_program


def main(argv: Sequence[str] | None = None) -> None:
    args = converter_parser().parse_args(argv)
    source, target = args.source, args.target
    if target.exists() and not args.force:
        raise UsageError(f"OUT {target}: exists already; name another one, or add --force")
    from checkpoints.adoption import as_ours  # imports torch, which the parser does without
    from checkpoints.run_files import is_ours, is_shared, read_checkpoint

    content = read_checkpoint(source, "IN")
    facts = {"arch": args.arch, "output_stride": args.output_stride, "wt_layer": args.wt_layer}
    ours = as_ours(content, source, **facts, image_in=args.image_in or None)
    if args.to == "release" and (unknown := unknown_to_release(ours)):
        raise UsageError(f"IN {source}: the authors' code has no {unknown}; choose --to ours or --to hub")
    if args.to == ("hub" if is_shared(source) else "ours" if is_ours(content) else "release"):
        raise UsageError(f"IN {source}: has the format of {args.to} already; choose another one with --to")
    try:
        write(args.to, target, ours, source)
    except (OSError, RuntimeError) as error:
        raise UsageError(f"OUT {target}: cannot be written ({first_line(error)}); name another one") from error
    print(f"written to {target}")


def write(form: str, target: Path, ours: Mapping[str, Any], source: Path) -> None:
    """Write a checkpoint of ours, which was read from ``source``, in the format ``form``."""
    from checkpoints.run_files import without_paths, write_checkpoint, write_folder

    if form == "hub":
        ours = ours | {"flags": without_paths(ours["flags"])}
        write_folder(target, ours, card=model_card(ours, source, title=target.resolve().name))
        print(f"note: read {target / CARD} before you share it, and choose the licence of the weights")
    else:
        write_checkpoint(target, ours if form == "ours" else released(ours))


def converter_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m tools.convert", description=__doc__)
    parser.add_argument("source", type=user_path, metavar="IN", help="the checkpoint to read, a file or a folder")
    parser.add_argument("target", type=user_path, metavar="OUT", help="the file or folder to write")
    parser.add_argument(
        "--to", choices=("ours", "release", "hub"), default="ours", help="the format of OUT (default: ours)"
    )
    parser.add_argument("--force", action="store_true", help="replace OUT if it exists")
    add_facts(parser)
    return parser


def add_facts(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("facts that the authors' files do not hold")
    group.add_argument("--arch", metavar="NAME", help="the release's name of the network (default: as recognised)")
    group.add_argument("--output_stride", type=int, choices=(8, 16, 32), help="overrides the network's own")
    group.add_argument("--wt_layer", **NORM_FLAG, help=f"{NORM_HELP}; only 4 and 5 leave entries in a file")
    group.add_argument(
        "--image_in",
        action="store_true",
        help="each image was normalised by its own mean and deviation, not by ImageNet's; stored in OUT",
    )


def unknown_to_release(content: Mapping[str, Any]) -> str:
    """What of a network of ours the authors' code cannot compute; '' for all that it can."""
    network = content["network"]
    memory = network["memory"] or {}
    parts = {f"--arch {network['arch']}": network["arch"].startswith(TIMM)}
    parts |= {f"--mem_{name}": memory.get(name) for name in ("centred", "residual")}
    return " and no ".join(name for name, used in parts.items() if used)


def released(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checkpoint of ours as the release's code loads it."""
    from checkpoints.release_format import release_content

    network, origin = content["network"], content.get("origin", {})
    print(
        f"note: use the file with --arch {network['arch']} and the other flags of its training: it holds neither them, "
        "nor names of classes, nor the optimizer's state"
    )
    return release_content(content["weights"], epoch=origin.get("epoch", 0), mean_iu=origin.get("mean_iu", 0))


if __name__ == "__main__":
    run_program("tools.convert", main)
