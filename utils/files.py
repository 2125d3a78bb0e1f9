"""Files: written whole or not at all, read only if they are files, in folders with a single writer."""

import errno
import fcntl
import json
import math
import os
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from utils.errors import UsageError
from utils.log import log
from utils.processes import rank

PARTIAL = ".partial"  # the suffix of a file that is being written
NO_FILE = "not a regular file"


@contextmanager
def errors_about(path: Path) -> Iterator[None]:
    """Within this context errors of the system name ``path`` if they name no file (on a full disk) or a partial one."""
    try:
        yield
    except OSError as error:
        if str(error.filename or PARTIAL).endswith(PARTIAL):
            error.filename = str(path)
        raise


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` if the body succeeds, delete it if it fails.

    The temporary name is drawn at random: processes of different machines never write into the same file.
    """
    partial = path.with_name(f".{uuid.uuid4().hex}{PARTIAL}")  # short: the name itself may be as long as a name can be
    with errors_about(path):
        if no_file(path) == NO_FILE:
            raise OSError(errno.EINVAL, NO_FILE)  # a device, such as /dev/stdout, must not be replaced
        try:
            yield partial
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def no_file(path: Path) -> str:
    """What is at ``path`` instead of a file; '' for a file."""
    return "" if path.is_file() else NO_FILE if path.exists() else "no such file"


def write_text(path: Path, text: str) -> None:
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="surrogateescape")


def write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(without_nan(content), indent=1, default=str) + "\n")


def without_nan(content: Any) -> Any:
    """The same content with None for each NaN (the mean of nothing): JSON has no NaN."""
    if isinstance(content, Mapping):
        return {key: without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and math.isnan(content) else content


@contextmanager
def hold(folder: Path) -> Iterator[Path]:
    """Make ``folder``, and this program its only writer within this context; yield it.  Errors of the system name it.

    The unfinished files of a killed process are deleted.  UsageError if another program writes there; on a file system
    without locks a note instead.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with errors_about(folder), (folder / ".lock").open("a") as file:
        try:
            if rank() == 0:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock, not for the processes that load data
                for path in folder.glob("." + 32 * "[0-9a-f]" + PARTIAL):
                    path.unlink()
        except BlockingIOError as error:
            raise UsageError(f"{file.name}: held by another program; wait, or name another folder") from error
        except OSError as error:
            log.warning(f"note: {folder}: cannot be locked ({error.strerror}); let no other program write there")
        yield folder


@cache
def refuse_special_files() -> None:
    """From now on, no pipe, socket or device is opened for reading: that may wait for ever, or never end."""

    def check(event: str, arguments: tuple) -> None:
        if event != "open" or not isinstance(arguments[0], str) or not str(arguments[1]).startswith("r"):
            return
        path = Path(arguments[0])
        if no_file(path) == NO_FILE and not path.is_dir() and str(path) != os.devnull:
            raise OSError(errno.EINVAL, NO_FILE, str(path))

    sys.addaudithook(check)
