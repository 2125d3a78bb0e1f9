"""Options are fields of frozen dataclasses; a field declares its flag, default, type and help in one place.

Imports no torch: ``--help`` and mistakes on the command line are answered at once.
"""

import argparse
import math
from collections.abc import Callable, Collection
from dataclasses import MISSING, Field, field, fields, is_dataclass
from typing import Any

IGNORE = 255  # the label of pixels that do not count


def option(
    default: Any,
    help: str,
    *,
    flag: str | None = None,
    alias: str | None = None,
    by_recipe: bool = False,
    **settings: Any,
) -> Any:
    """A field with a flag, by default of the field's name; ``settings`` go to ``argparse``.

    A function as ``default`` computes it when it is needed.
    A bool is a switch: its flag turns on what is off by default, and off what is on.
    ``by_recipe``: a recipe gives the value where the command line does not; a switch then has a flag --no-NAME too.
    """
    metadata = {"flag": flag, "alias": alias, "by_recipe": by_recipe, "settings": {"help": help, **settings}}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def flag_name(item: Field) -> str:
    return item.metadata.get("flag") or item.name


def add_options(group: Any, options: type, *, without: Collection[str] = ()) -> set[str]:
    """Add the flags of a dataclass to a parser or a group of one, except those in ``without``; return their names."""
    added = set()
    for item in fields(options):
        name = flag_name(item)
        if not item.metadata or name in without:
            continue
        default = item.default if item.default is not MISSING else item.default_factory()
        settings = dict(item.metadata["settings"])
        if item.metadata["by_recipe"]:
            mark = "" if "(default" in settings["help"] else " [recipe]"
            settings |= {"default": None, "help": settings["help"] + mark}
            settings |= {"action": argparse.BooleanOptionalAction} if isinstance(default, bool) else {}
        elif isinstance(default, bool):
            settings = {"action": "store_true", "default": False} | settings
        else:
            shown, settings["default"] = default, default
            if isinstance(default, tuple):
                shown, settings["default"] = " ".join(map(str, default)), list(default)
            if shown not in (None, "") and "(default" not in settings["help"]:
                settings["help"] += f" (default: {shown})".replace("%", "%%")
        alias = item.metadata["alias"]
        group.add_argument(f"--{name}", *([f"--{alias}"] if alias else []), **settings)
        added.add(name)
    return added


def fill(options: type, args: argparse.Namespace, **given: Any) -> Any:
    """The dataclass ``options``, and those in its fields, with the values of the flags; ``given`` sets other fields."""
    values = {}
    for item in fields(options):
        name = flag_name(item)
        if item.name in given:
            continue
        if is_dataclass(item.type):
            values[item.name] = fill(item.type, args)
        elif hasattr(args, name):
            value = getattr(args, name)
            value = not value if item.default is True else value
            values[item.name] = tuple(value) if isinstance(value, list) else value
    return options(**values, **given)


def number(kind: type, low: float, high: float = math.inf) -> Callable[[str], Any]:
    """An argparse type: a finite number from ``low`` to ``high``."""

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not (low <= value <= high and value < math.inf):
            limits = f"from {low:g} to {high:g}" if high < math.inf else f"of {low:g} or more"
            raise argparse.ArgumentTypeError(f"{text}: give a {'whole number' if kind is int else 'number'} {limits}")
        return value

    return parse


COUNT, ANY = number(int, 1), number(int, 0)
FACTOR, WEIGHT, SHARE = number(float, 1e-12), number(float, 0), number(float, 0, 1)


def class_ids(text: str) -> list[int]:
    """An argparse type: class ids, separated by commas."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if not (name.isdecimal() and int(name) < IGNORE):
            raise argparse.ArgumentTypeError(f"{name}: give numbers of classes, separated by commas")
    return sorted({int(name) for name in names})
