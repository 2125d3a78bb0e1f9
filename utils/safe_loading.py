"""Read files of ``torch.save`` without running code from them.  Tensors, plain data and NumPy's numbers are loaded."""

import re
import struct
import warnings
from pathlib import Path
from typing import Any

import torch

STRUCT_CODES = {"f4": "f", "f8": "d", "i4": "i", "i8": "q"}  # by NumPy's codes of the number types


class Unreadable(Exception):  # noqa: N818 (the caller turns it into an error that names the file)
    """The file is broken, has another format, or holds more than data."""


class NumberType:
    """A stand-in for ``numpy.dtype``.  Files of the release hold one, because their mean IoU is a NumPy number."""

    def __init__(self, code: str, *_options: object) -> None:
        self.code = STRUCT_CODES[code]

    def __setstate__(self, state: tuple) -> None:
        """Ignore the byte order and the like, which NumPy stores; these files come from little-endian machines."""


def number(kind: NumberType, content: bytes) -> float | int:
    """A stand-in for the function that restores a NumPy number."""
    return struct.unpack(f"<{kind.code}", content)[0]


# A file names these functions as NumPy 1 or 2 writes them.  The stand-ins run in their place, never NumPy's own code.
STAND_INS = [
    (NumberType, "numpy.dtype"),
    (number, "numpy.core.multiarray.scalar"),
    (number, "numpy._core.multiarray.scalar"),
]


def load_safely(path: Path) -> Any:
    """Return the content of a file of ``torch.save`` or safetensors, on the CPU.  Raises ``Unreadable``."""
    if path.suffix == ".safetensors":
        return load_safetensors(path)
    try:
        with torch.serialization.safe_globals(STAND_INS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are about how the file was written
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types, and its messages advise to run the code in the file
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        if refused:
            raise Unreadable(f"it holds {refused[1]}, which is more than data and is not loaded") from error
        raise Unreadable("it is incomplete, or torch.save did not write it: fetch it again") from error


def load_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of the file, in the order that its metadata name, if they do.  Raises ``Unreadable``."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            order, names = (file.metadata() or {}).get("order", "").split(), file.keys()
            return {name: file.get_tensor(name) for name in (order if {*order} == {*names} else names)}
    except (SafetensorError, OSError) as error:
        raise Unreadable(f"{path.name} is incomplete or not of safetensors: fetch it again") from error
