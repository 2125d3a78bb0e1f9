"""Files that are written whole or not at all."""

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PARTIAL = ".partial"  # the suffix of a file that is being written


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` if the body succeeds, delete it if it fails.

    The temporary name holds the process id, so two processes never write into the same file.
    """
    partial = path.with_name(f".{os.getpid()}{PARTIAL}")  # short: the name itself may be as long as a name can be
    partial.unlink(missing_ok=True)  # after a kill it may be a link to a file that must not change
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk: the system does not say which file
        raise
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    with whole_file(path) as partial:
        partial.write_text(text)


def write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(without_nan(content), indent=1, default=str) + "\n")


def without_nan(content: Any) -> Any:
    """The same content with None for each NaN (the mean of nothing): JSON has no NaN."""
    if isinstance(content, Mapping):
        return {key: without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and math.isnan(content) else content
