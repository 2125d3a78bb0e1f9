"""Programs run in this process, through their common door."""

from collections.abc import Callable, Sequence
from pathlib import Path

from utils.program import run_program


def exit_code(name: str, main: Callable[[Sequence[str]], int | None], arguments: Sequence[str | Path]) -> int:
    """The code with which the program ends."""
    try:
        run_program(name, lambda: main([*map(str, arguments)]))
    except SystemExit as end:
        return end.code
    return 0
