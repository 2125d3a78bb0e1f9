"""How programs begin and end: a mistake of the user is one line and exit code 2, never a traceback."""

import contextlib
import os
import re
import sys
from collections.abc import Callable
from typing import Any, TextIO

from engine.training.interruption import Interrupted
from utils.errors import CommonError, UsageError, first_line
from utils.log import log
from utils.processes import rank, world_size

# OpenMP reads this when torch loads.  Otherwise its waiting threads spin, which is slow beside other programs.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


class Unbroken:
    """An output stream that survives the end of its reader: Ctrl-C also ends the ``tee`` behind a pipe."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(BrokenPipeError):
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def run_program(name: str, main: Callable[[], None]) -> None:
    """Run ``main`` and exit: with one line and code 2 after a mistake of the user, with 128 + N after signal N."""
    with contextlib.redirect_stdout(Unbroken(sys.stdout)), contextlib.redirect_stderr(Unbroken(sys.stderr)):
        try:
            main()
        except UsageError as error:
            known_to_all = isinstance(error, CommonError) and rank() > 0  # the first process says it
            sys.exit(2 if known_to_all else fail(name, str(error)))
        except OSError as error:  # a full disk, a folder that went away
            problem = f"{error.filename or 'file'}: {error.strerror or first_line(error)}"
            sys.exit(fail(name, f"{problem}; mend that, then start or resume"))
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
