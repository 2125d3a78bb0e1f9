"""How the programs end: a mistake of the user is one line and exit code 2, never a traceback."""

import re
import sys
from collections.abc import Callable

from engine.flags import process
from engine.interruption import Interrupted
from utils.errors import UsageError, first_line


def run_program(name: str, main: Callable[[], None]) -> None:
    try:
        main()
    except UsageError as error:
        sys.exit(fail(name, str(error)))
    except OSError as error:  # a full disk, a folder that went away
        sys.exit(fail(name, f"{error.filename or 'file'}: {error.strerror or error}; mend that and start again"))
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        remedy = "take smaller or fewer images at once: --bs_mult, --crop_size; or another --device"
        sys.exit(fail(name, f"out of memory ({first_line(error)}); {remedy}"))
    except Interrupted as end:
        if process() == 0:
            print(end)
        sys.exit(end.code)
    except KeyboardInterrupt:
        print(f"{name}: stopped", file=sys.stderr)
        sys.exit(130)


def out_of_memory(error: Exception) -> bool:
    """Whether torch, which need not be loaded here, or Python could not get memory."""
    return isinstance(error, MemoryError) or bool(re.search("out of memory|can't allocate memory", str(error)))


def fail(name: str, message: str) -> int:
    """Print the line; the processes that torchrun started besides the first say which one they are."""
    which = f" (process {process()})" if process() else ""
    print(f"{name}{which}: error: {message}", file=sys.stderr)
    return 2
