"""How the programs end: a mistake of the user is one line and exit code 2, never a traceback."""

import sys
from collections.abc import Callable

from utils.errors import UsageError


def run_program(name: str, main: Callable[[], None]) -> None:
    try:
        main()
    except UsageError as error:
        sys.exit(fail(name, str(error)))
    except OSError as error:  # a full disk, a folder that went away
        sys.exit(fail(name, f"{error.filename or 'file'}: {error.strerror or error}; mend that and start again"))
    except KeyboardInterrupt:
        sys.exit(130)


def fail(name: str, message: str) -> int:
    print(f"{name}: error: {message}", file=sys.stderr)
    return 2
