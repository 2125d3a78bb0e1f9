"""The argument parser of all programs: mistakes are answered with one line."""

import argparse
import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from datasets.options import user_path
from datasets.own.custom import is_custom, lasting_name
from datasets.registry import check_name
from utils.errors import CommonError, UsageError
from utils.processes import rank


class Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Show defaults, but not those that a recipe or the machine decides."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        hidden = action.default is False or action.default in (None, argparse.SUPPRESS)  # 0 equals False, but is shown
        if hidden or "%(default)" in (action.help or ""):
            return action.help
        return f"{action.help} (default: %(default)s)"

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        """The last word in the name of the type: N and X for numbers, PATH for ``user_path``."""
        return getattr(action.type, "__name__", "name").rpartition("_")[2].upper()


class Parser(argparse.ArgumentParser):
    """A parser without abbreviations.  Only the first process prints a mistake."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=Formatter, allow_abbrev=False, **settings)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            names = [name for name in self._option_string_actions if name.startswith("--")]
            close = difflib.get_close_matches(unknown[0].partition("=")[0], names, n=1)
            self.error(f"{unknown[0]}: no such flag" + (f"; did you mean {close[0]}?" if close else ""))
        return parsed

    def error(self, message: str) -> NoReturn:
        self.exit(2, None if rank() else f"{self.prog}: error: {message} (all flags: {self.prog} --help)\n")


class OneFolder(argparse.Action):
    """A path under several names: the last of one name counts, two names must give the same path."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        self.given = {**getattr(self, "given", {}), option_string: values}
        if len(set(self.given.values())) > 1:
            both = " and ".join(f"{name} {path}" for name, path in self.given.items())
            parser.error(f"{both}: names of one folder; give one of them")
        setattr(namespace, self.dest, values)


@contextmanager
def mistakes_of_all() -> Iterator[None]:
    """All processes parse the same command line: its mistakes are CommonErrors."""
    try:
        yield
    except UsageError as error:
        raise CommonError(str(error)) from error


def refuse_if(wrong: object, message: str) -> None:
    if wrong:
        raise UsageError(message)


def dataset_names(names: Sequence[str], root: Path) -> list[str]:
    """The names of data sets, with absolute paths for own ones; UsageError for an unknown name."""
    for name in names:
        check_name(name)
    return [lasting_name(name, root) if is_custom(name) else name for name in names]


def named_folders(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> dict[str, Path]:
    """Folders by the names given to them as NAME=DIR."""
    folders: dict[str, Path] = {}
    for argument in arguments:
        name, _, folder = argument.partition("=")
        if not name or not folder or name in folders:
            parser.error(f"{argument}: give NAME=DIR, each with another name")
        folders[name] = user_path(folder)
    return folders
