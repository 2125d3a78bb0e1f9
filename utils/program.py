"""How programs begin and end: a mistake of the user is one line and exit code 2, never a traceback."""

import contextlib
import os
import re
import sys
from collections.abc import Callable
from typing import Any, TextIO

from utils.errors import CommonError, Interrupted, UsageError, first_line
from utils.files import refuse_special_files
from utils.log import log
from utils.processes import rank, world_size

# GNU's OpenMP reads this when torch loads: its waiting threads spin for a moment, then sleep.  By default they spin for
# long, which is slow beside other programs.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


class Unbroken:
    """An output stream that never stops the program: what its disk or reader does not take any more is dropped.

    ``| head`` ends early, and Ctrl-C also ends the ``tee`` behind a pipe.  Characters that the encoding lacks are
    escaped.  A stream that was closed before the start is None.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self.stream = stream or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
        self.stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        try:
            self.stream.write(text)
            self.stream.flush()
        except OSError as error:  # from now on into /dev/null, also Python's own flush at the exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())
            if not isinstance(error, BrokenPipeError):
                print(f"note: {self.stream.name}: {error.strerror}; the rest of it is lost", file=sys.stderr)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def run_program(name: str, main: Callable[[], int | None]) -> None:
    """Run ``main`` and exit with the code that it returns, if any; after a mistake of the user with one line and
    code 2, after signal N with 128 + N."""
    while (number := os.open(os.devnull, os.O_RDWR)) < 3:
        pass  # a closed standard stream: libraries would print into the file of ours that gets its number
    os.close(number)
    refuse_special_files()
    with contextlib.redirect_stdout(Unbroken(sys.stdout)), contextlib.redirect_stderr(Unbroken(sys.stderr)):
        try:
            if code := main():
                sys.exit(code)
        except UsageError as error:
            known_to_all = isinstance(error, CommonError) and rank() > 0  # the first process says it
            sys.exit(2 if known_to_all else fail(name, str(error)))
        except OSError as error:  # a full disk, a folder that went away
            file = f"{error.filename}: " if error.filename else ""
            sys.exit(fail(name, f"{file}{error.strerror or first_line(error)}; mend that, then start again or resume"))
        except (RuntimeError, MemoryError) as error:
            if not (message := explain(error)):
                raise
            sys.exit(fail(name, message))
        except Interrupted as end:
            log.info(str(end))
            sys.exit(end.code)
        except KeyboardInterrupt:
            print(f"{name}: stopped", file=sys.stderr)
            sys.exit(130)


def explain(error: Exception) -> str:
    """A line about an error of torch that has a remedy; '' for other errors.  Torch need not be loaded."""
    lost = "Connection closed by peer|Connection reset by peer|Broken pipe|NCCL"
    if world_size() > 1 and re.search(lost, str(error)):
        return "another process ended; see its own message"
    if "home directory" in str(error):
        return "this account has no home directory; give paths without ~"
    if any(kind.__module__.startswith("torch._dynamo") for kind in type(error).__mro__):
        return f"--compile: torch cannot compile the network here ({first_line(error)}); give --no-compile"
    if isinstance(error, MemoryError) or re.search("out of memory|can't allocate memory", str(error)):
        remedy = "take smaller or fewer images at once: --bs_mult, --crop_size, --target_norm; or another --device"
        return f"out of memory ({first_line(error)}); {remedy}"
    return ""


def fail(name: str, message: str) -> int:
    """Print the line; a process other than the first adds its number."""
    process = f" (process {rank()})" if rank() else ""
    print(f"{name}{process}: error: {message}", file=sys.stderr)
    return 2
