"""What the command lines of ``train.py`` and ``eval.py`` share; spelling and defaults follow the authors' release.

Nothing here imports torch, so that ``--help`` and mistakes are answered at once.
"""

import argparse
import difflib
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from datasets.labels import IGNORE
from datasets.own.custom import is_custom, lasting_name
from datasets.registry import check_name
from engine.options.recipes import RECIPES
from utils.errors import UsageError
from utils.processes import local_world_size, rank


class Parser(argparse.ArgumentParser):
    """Answers a mistake with one line, from the first process only."""

    def __init__(self, **options) -> None:
        super().__init__(formatter_class=Formatter, allow_abbrev=False, **options)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            names = [name for name in self._option_string_actions if name.startswith("--")]
            close = difflib.get_close_matches(unknown[0].partition("=")[0], names, n=1)
            self.error(f"{unknown[0]}: no such flag" + (f"; did you mean {close[0]}?" if close else ""))
        return found

    def error(self, message: str) -> NoReturn:
        self.exit(2, None if rank() else f"{self.prog}: error: {message} (all flags: {self.prog} --help)\n")


class WithoutEffect(argparse.Action):
    """Accepts a flag of the release that changes nothing, with one note unless it is given its usual value, const."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        if values != [self.const] and rank() == 0:  # one note, however many processes torchrun starts
            print(f"note: {option_string} has no effect here; the authors' release knows it", file=sys.stderr)


def add_without_effect(parser: argparse.ArgumentParser, flags: Mapping[str, int | str]) -> None:
    """Accept ``flags``, each with its number of values or its usual value, and let --help not speak of them."""
    for flag, known in flags.items():
        count, usual = (known, None) if isinstance(known, int) else (1, known)
        parser.add_argument(
            flag, nargs=count, const=usual, action=WithoutEffect, help=argparse.SUPPRESS, default=argparse.SUPPRESS
        )


class OneFolder(argparse.Action):
    """A path under several names: the last of one name counts, two names must say the same."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        self.given = {**getattr(self, "given", {}), option_string: values}
        if len(set(self.given.values())) > 1:
            told = " and ".join(f"{name} {path}" for name, path in self.given.items())
            parser.error(f"{told}: names of one folder; give one of them")
        setattr(namespace, self.dest, values)


class Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, but not those that a recipe or the machine decides."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        hidden = action.default is False or action.default in (None, argparse.SUPPRESS)  # but 0, which equals False
        if hidden or "%(default)" in (action.help or ""):
            return action.help
        return f"{action.help} (default: %(default)s)"


def number(kind: type, low: float, high: float = math.inf) -> Any:
    """An argparse type: a finite number from ``low`` to ``high``."""

    kinds = {int: "whole number", float: "number"}

    def parse(text: str) -> Any:
        try:
            value = kind(text)
            fits = low <= value <= high and math.isfinite(value)
        except (ValueError, OverflowError):
            fits = False
        if not fits:
            told = f"from {low:g} to {high:g}" if math.isfinite(high) else f"of {low:g} or more"
            raise argparse.ArgumentTypeError(f"{text}: give a {kinds[kind]} {told}")
        return value

    parse.__name__ = kind.__name__
    return parse


def add_switch(group: Any, flag: str, told: str) -> None:
    """A flag that its ``--no-`` form takes back, so that a run which goes on may be without it."""
    action = group.add_argument(flag, action=argparse.BooleanOptionalAction, help=told)
    action.default = False  # some versions of Python would add a default given above to the help


def asked_for(flag: str, argv: Sequence[str] | None) -> bool:
    """Whether a command line, by default that of the program, has ``flag``: known before it is parsed."""
    return flag in (sys.argv[1:] if argv is None else argv)


PRETRAINED = ("pretrained_model", "pretrained_models")
WT_LAYERS = 7  # the stem's three convolutions, four stages
EXPERIMENTS = Path("~/experiment_pinmem").expanduser()
COUNT, ANY = number(int, 1), number(int, 0)
PAIR = number(int, 2)  # of images, for batch norm in every pass; of domains, for meta-learning
FACTOR, WEIGHT, SHARE = number(float, 1e-12), number(float, 0), number(float, 0, 1)


def lasting_path(text: str) -> Path:
    """A path that means the same when a run goes on from another folder."""
    return user_path(text).absolute()


def user_path(text: str) -> Path:
    return Path(text).expanduser()


def named_folders(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> dict[str, Path]:
    """Folders by the names given to them as NAME=DIR."""
    folders: dict[str, Path] = {}
    for argument in arguments:
        name, _, folder = argument.partition("=")
        if not name or not folder or name in folders:
            parser.error(f"{argument}: give NAME=DIR, each with another name")
        folders[name] = user_path(folder)
    return folders


def data_sets(parser: argparse.ArgumentParser, names: Sequence[str], root: Path) -> list[str]:
    """The names of data sets, those of own ones with absolute paths."""
    try:
        for name in names:
            check_name(name)
        return [lasting_name(name, root) if is_custom(name) else name for name in names]
    except UsageError as error:
        parser.error(str(error))


def add_recipe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--recipe",
        default="repaired",
        choices=tuple(RECIPES),
        help="defaults of the flags marked [recipe]: as published, or repaired where that is defective",
    )


def add_data_root(group: Any, *, gtav_labels: str | None = None) -> None:
    """Where the data sets are and how they are read; without ``gtav_labels`` the recipe decides on those."""
    group.add_argument(
        "--data_root",
        type=lasting_path,
        default=lasting_path(os.environ.get("DG_SEG_DATASET", "~/dg_seg_dataset")),
        metavar="DIR",
        help="the folder of all data sets; the environment variable DG_SEG_DATASET sets it too",
    )
    group.add_argument(
        "--split_file",
        type=lambda text: str(lasting_path(text)),
        nargs="+",
        metavar="PATH",
        help="lists of file names, or a folder of such, that divide GTAV and SYNTHIA: gtav_split_train.txt and so on",
    )
    group.add_argument(
        "--gtav_labels", choices=("ids", "colour"), default=gtav_labels, help="how GTAV labels are read "
        + (f"(default: {gtav_labels})" if gtav_labels else "[recipe]")
    )  # fmt: skip


def add_reading_flags(group: Any) -> None:
    group.add_argument(
        "--mapillary_crop", type=ANY, default=1536, metavar="SIDE", help="Mapillary's square crop; 0: whole images"
    )
    group.add_argument("--mapillary_pad", choices=("ignore", "road"), help="its label of padded pixels [recipe]")
    group.add_argument(
        "--gumbel_eval", type=ANY, metavar="K",
        help="memory reads in evaluation: 0 plain, 1 with noise, K above 1: K times with noise [recipe]",
    )  # fmt: skip


def given_weights(path: Path) -> Path:
    """The release's scripts name ``pretrained_models``, its README ``pretrained_model``: whichever exists."""
    if path.exists() or not path.parts or path.parts[0] not in PRETRAINED:
        return path
    others = [Path(folder, *path.parts[1:]) for folder in PRETRAINED]
    return next(filter(Path.exists, others), path)


def add_output_stride(group: Any) -> None:
    group.add_argument("--output_stride", type=int, choices=(8, 16, 32), help="overrides the network's own")


def add_layer_norms(group: Any, *, default: list[int] | None, told: str) -> None:
    group.add_argument(
        "--wt_layer", type=number(int, 0, 5), nargs=WT_LAYERS, default=default, metavar=("STEM",) * 3 + ("LAYER",) * 4,
        help=f"seven norms, behind the stem's convolutions and at the end of each stage: 0 none, 1 instance whitening, "
        f"2 selective whitening, 3 instance norm, 4 the same with scale and shift (IBN-Net), 5 switchable whitening; "
        f"{told}",
    )  # fmt: skip


def add_image_in(group: Any, *, told: str) -> None:
    group.add_argument("--image_in", action="store_true", help=f"normalise each image by its own mean and deviation, "
                       f"not by ImageNet's{told}")  # fmt: skip


def own_cores() -> int:
    """The cores for this process: those of the machine are shared by all that torchrun started there."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // local_world_size())


def add_machine(group: Any) -> None:
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    group.add_argument(
        "--amp", choices=("auto", "bf16", "tf32", "off"), help="auto: bf16 on CUDA; tf32: float32 whose products are "
        "rounded to TF32 on CUDA, in the memory too; off: true float32 [recipe]"
    )  # fmt: skip
    workers = min(8, max(1, own_cores() - 1))
    told = "processes that load data, for each that trains"
    group.add_argument("--num_workers", type=ANY, default=workers, metavar="N", help=told)


def classes(text: str) -> list[int]:
    """An argparse type: train ids, separated by commas."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if wrong := [name for name in names if not (name.isdecimal() and int(name) < IGNORE)]:
        raise argparse.ArgumentTypeError(f"{wrong[0]}: give numbers of classes, separated by commas")
    return sorted({int(name) for name in names})
