"""The argument parser of all programs: mistakes are answered with one line."""

import argparse
import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from datasets.options import user_path
from datasets.own.custom import is_custom, lasting_name
from datasets.registry import check_name
from utils.errors import CommonError, UsageError
from utils.log import log
from utils.processes import rank


class Parser(argparse.ArgumentParser):
    """A parser without abbreviations.  Only the first process prints a mistake."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)
        self.without_effect: list[str] = []  # flags that were given and change nothing
        self.file: Path | None = None  # whose flags are read instead of a command line

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            if not unknown[0].startswith("-"):
                self.error(f"{unknown[0]}: one value too many for what stands before it")
            known = [name for name in self._option_string_actions if name.startswith("--")]
            close = difflib.get_close_matches(unknown[0].partition("=")[0], known, n=1, cutoff=0.7)
            self.error(f"{unknown[0]}: no such flag" + (f"; did you mean {close[0]}?" if close else ""))
        if self.without_effect:
            flags = ", ".join(dict.fromkeys(self.without_effect))
            log.warning(f"note: without effect here: {flags} (docs/commands.md says why)")
        return parsed

    def parse_stored(self, flags: Mapping[str, Any], file: Path) -> dict[str, Any]:
        """Return the ``flags`` that ``file`` holds with the types that a command line gives them, and all other flags.

        UsageError for a value that the command line would not take.  Unknown flags stay as they are.
        """
        line = []
        for name, value in flags.items():
            action = self._option_string_actions.get(f"--{name}")
            if action is None or value == action.default or (action.nargs == 0 and value is False):
                continue
            if action.nargs == 0 and value is True:
                line.append(f"--{name}")
            elif action.nargs and isinstance(value, list):
                line += [f"--{name}", *map(str, value)]
            else:
                line.append(f"--{name}={','.join(map(str, value)) if isinstance(value, list) else value}")
        self.file = file
        parsed, _ = self.parse_known_args(line, argparse.Namespace(**flags))
        self.file = None
        return vars(parsed)

    def error(self, message: str) -> NoReturn:
        if self.file:
            raise UsageError(f"{self.file}: {message}; put the value back with which the run was started")
        self.exit(2, None if rank() else f"{self.prog}: error: {message} (all flags: {self.prog} --help)\n")


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


def refuse_idle(*needs: tuple[str, object, object, str]) -> None:
    """UsageError for a flag that changes nothing.  ``needs``: a flag, its value, what uses the value, its name."""
    for flag, given, used, needed in needs:
        refuse_if(given and not used, f"{flag} changes nothing without {needed}: add that, or drop {flag}")


def dataset_names(names: Sequence[str], root: Path) -> list[str]:
    """The names of data sets, with absolute paths for own ones; UsageError for an unknown name."""
    for name in names:
        check_name(name)
    return [lasting_name(name, root) if is_custom(name) else name for name in names]


def named_folder(text: str) -> tuple[str, Path]:
    """An argparse type: NAME=DIR as a name and a folder."""
    name, _, folder = text.partition("=")
    if not name or not folder:
        raise argparse.ArgumentTypeError(f"{text}: give NAME=DIR")
    return name, user_path(folder)
