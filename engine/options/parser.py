"""The argument parser of all programs: mistakes are answered with one line."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from datasets.options import user_path
from datasets.own.custom import is_custom, lasting_name
from datasets.registry import check_name
from utils.errors import CommonError, UsageError
from utils.processes import rank


class Parser(argparse.ArgumentParser):
    """A parser without abbreviations.  Only the first process prints a mistake."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
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
