"""How the programs end: a mistake of the user is one line and exit code 2, never a traceback."""

import contextlib
import re
import sys
from collections.abc import Callable
from typing import Any, TextIO

from engine.training.interruption import Interrupted
from utils.errors import CommonError, UsageError, first_line
from utils.processes import rank, world_size


class Unbroken:
    """An output stream that goes on when its reader is gone: Ctrl-C also ends the ``tee`` behind a pipe."""

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
    with contextlib.redirect_stdout(Unbroken(sys.stdout)), contextlib.redirect_stderr(Unbroken(sys.stderr)):
        run(name, main)


def run(name: str, main: Callable[[], None]) -> None:
    try:
        main()
    except UsageError as error:
        told_by_first = isinstance(error, CommonError) and rank() > 0
        sys.exit(2 if told_by_first else fail(name, str(error)))
    except OSError as error:  # a full disk, a folder that went away
        sys.exit(
            fail(
                name,
                f"{error.filename or 'file'}: {error.strerror or first_line(error)}; mend that, then start or resume",
            )
        )
    except (RuntimeError, MemoryError) as error:
        if another_ended(error):
            sys.exit(fail(name, "another process ended; what it met is told by itself"))
        if of_compiler(error):
            told = f"--compile: torch cannot compile the network here ({first_line(error)}); give --no-compile"
            sys.exit(fail(name, told))
        if not out_of_memory(error):
            raise
        remedy = "take smaller or fewer images at once: --bs_mult, --crop_size, --target_norm; or another --device"
        sys.exit(fail(name, f"out of memory ({first_line(error)}); {remedy}"))
    except Interrupted as end:
        if rank() == 0:
            print(end)
        sys.exit(end.code)
    except KeyboardInterrupt:
        print(f"{name}: stopped", file=sys.stderr)
        sys.exit(130)


def another_ended(error: Exception) -> bool:
    """Whether a process waited in vain for another one."""
    lost = "Connection closed by peer|Connection reset by peer|Broken pipe|NCCL"
    return world_size() > 1 and bool(re.search(lost, str(error)))


def of_compiler(error: Exception) -> bool:
    """Whether torch.compile, which need not be loaded here, has failed."""
    return any(kind.__module__.startswith("torch._dynamo") for kind in type(error).__mro__)


def out_of_memory(error: Exception) -> bool:
    """Whether torch, which need not be loaded here, or Python could not get memory."""
    return isinstance(error, MemoryError) or bool(re.search("out of memory|can't allocate memory", str(error)))


def fail(name: str, message: str) -> int:
    """Print the line; the processes that torchrun started besides the first say which one they are."""
    which = f" (process {rank()})" if rank() else ""
    print(f"{name}{which}: error: {message}", file=sys.stderr)
    return 2
