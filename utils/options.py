"""Options are fields of frozen dataclasses; a field declares its flag, default, type and help in one place.

Imports no torch: ``--help`` and mistakes on the command line are answered at once.
"""

import argparse
import math
from collections.abc import Callable, Collection
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any

IGNORE = 255  # the label of pixels that do not count


@dataclass(frozen=True)
class Flag:
    """How a field is given on the command line, and what ``--help`` says about it."""

    name: str | None  # without dashes; None: the name of the field
    help: str
    settings: dict[str, Any]  # further arguments of ``add_argument``


def option(
    default: Any, help: str, *, flag: str | None = None, factory: Callable[[], Any] | None = None, **settings: Any
) -> Any:
    """A field with a flag; ``settings`` go to ``argparse``.  ``factory`` computes the default when it is needed.

    A bool is a switch: its flag turns on what is off by default, and off what is on.
    """
    metadata = {"flag": Flag(flag, help, settings)}
    if factory is not None:
        return field(default_factory=factory, metadata=metadata)
    return field(default=default, metadata=metadata)


def flag_name(item: Field) -> str:
    """The name of the flag that fills a field; without a declared flag it is the field's own name."""
    declared = item.metadata.get("flag")
    return declared.name if declared and declared.name else item.name


def default_of(item: Field) -> Any:
    return item.default if item.default is not MISSING else item.default_factory()


def add_options(group: Any, options: type, *, without: Collection[str] = ()) -> set[str]:
    """Add the flags of a dataclass to a parser or a group of one, except those in ``without``; return their names."""
    added = set()
    for item in fields(options):
        name = flag_name(item)
        if "flag" not in item.metadata or name in without:
            continue
        declared: Flag = item.metadata["flag"]
        default, settings = default_of(item), dict(declared.settings)
        if isinstance(default, bool):
            settings.setdefault("action", "store_true")
            action = group.add_argument(f"--{name}", help=declared.help, **settings)
            action.default = False  # some versions of Python add a default given above to the help
        else:
            default = list(default) if isinstance(default, tuple) else default
            group.add_argument(f"--{name}", default=default, help=declared.help, **settings)
        added.add(name)
    return added


def fill(options: type, args: argparse.Namespace, **given: Any) -> Any:
    """The dataclass ``options`` with the values of the flags; ``given`` sets the fields that no flag fills."""
    values = {}
    for item in fields(options):
        name = flag_name(item)
        if item.name in given or not hasattr(args, name):
            continue
        value = getattr(args, name)
        turned_off = "flag" in item.metadata and item.default is True
        values[item.name] = not value if turned_off else tuple(value) if isinstance(value, list) else value
    return options(**values, **given)


def number(kind: type, low: float, high: float = math.inf) -> Callable[[str], Any]:
    """An argparse type: a finite number from ``low`` to ``high``."""

    def parse(text: str) -> Any:
        try:
            value = kind(text)
            fits = low <= value <= high and math.isfinite(value)
        except (ValueError, OverflowError):
            fits = False
        if not fits:
            limits = f"from {low:g} to {high:g}" if math.isfinite(high) else f"of {low:g} or more"
            raise argparse.ArgumentTypeError(f"{text}: give a {'whole number' if kind is int else 'number'} {limits}")
        return value

    parse.__name__ = kind.__name__
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
