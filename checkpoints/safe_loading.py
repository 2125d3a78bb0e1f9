"""Reading what ``torch.save`` wrote without running anything that is inside: tensors, plain data, NumPy's numbers."""

import re
import struct
import warnings
from pathlib import Path
from typing import Any

import torch


class NumberType:
    """Stands in for ``numpy.dtype``, of which files of the release hold one, for their mean IoU."""

    def __init__(self, code: str, *_options: object) -> None:
        if code not in ("f4", "f8", "i4", "i8"):
            raise ValueError(f"holds numbers of the type {code}")
        self.format = "<" + {"f4": "f", "f8": "d", "i4": "i", "i8": "q"}[code]

    def __setstate__(self, state: tuple) -> None:
        """The state says in which order the bytes are: <, >, or | where there is one."""
        self.format = ("!" if state[1] == ">" else "<") + self.format[1:]


def number(kind: NumberType, content: bytes) -> float | int:
    """Stands in for the function that makes a NumPy number again."""
    return struct.unpack(kind.format, content)[0]


# By the names that NumPy 1 and 2 write.  Nothing of NumPy itself is called, whatever a file says.
NUMPY = [(NumberType, "numpy.dtype"), *((number, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core"))]


class Unreadable(Exception):  # noqa: N818 (said by the caller, with what was to be read)
    """A file that is broken, of another kind, or holds more than data."""


def load_safely(path: Path) -> Any:
    """What the file holds, on the CPU; raises ``Unreadable``."""
    try:
        with torch.serialization.safe_globals(NUMPY), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about how the file was written
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds, and goes on to advise how to run the file nevertheless
        held = re.search(r"GLOBAL ([\w.]+)", str(error))
        told = "no file of torch.save, or only a part of one: fetch it again"
        raise Unreadable(f"it holds {held[1]}, which is more than data and is not loaded" if held else told) from error
