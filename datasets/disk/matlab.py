"""Numbers in MATLAB files of version 5 (also what versions 6 and 7 write), such as GTAV's ``split.mat``.

Format: MathWorks, "MAT-File Format", chapter 1.  Version 7.3 is HDF5 and is not read.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping

import numpy as np

_HEADER, _INT32, _UINT32, _INT8, _MATRIX, _COMPRESSED = 128, 5, 6, 1, 14, 15
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_NUMERIC = range(6, 16)  # classes of arrays: double, single, and whole numbers of 8 to 64 bits
_INT32_CLASS = 12


def read_arrays(content: bytes) -> dict[str, np.ndarray]:
    """The real numeric arrays of a file by their names, in their shapes; ValueError if it is none or cut short."""
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if order is None or struct.unpack(f"{order}H", content[124:126])[0] != 0x0100:
        raise ValueError("no MATLAB file of version 5 to 7")
    try:
        matrices = [data for kind, data in _elements(content[_HEADER:], order) if kind == _MATRIX]
        return dict(found for data in matrices if (found := _array(data, order)))
    except (struct.error, zlib.error, StopIteration, KeyError) as error:
        raise ValueError("a MATLAB file that is cut short or broken") from error


def write_arrays(arrays: Mapping[str, np.ndarray]) -> bytes:
    """A file of columns of whole numbers, not compressed."""
    content = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    for name, numbers in arrays.items():
        parts = (
            (_UINT32, struct.pack("<II", _INT32_CLASS, 0)),
            (_INT32, struct.pack("<ii", len(numbers), 1)),
            (_INT8, name.encode()),
            (_INT32, np.asarray(numbers, dtype="<i4").tobytes()),
        )
        content += _element(_MATRIX, b"".join(_element(*part) for part in parts))
    return content


def _elements(content: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and data of each element; compressed ones are unpacked."""
    place = 0
    while place < len(content):
        kind, size = struct.unpack_from(f"{order}II", content, place)
        start = place + 8
        if kind >> 16:  # a small element: size and type share four bytes, the data are the next four
            kind, size, start = kind & 0xFFFF, kind >> 16, place + 4
        if start + size > len(content):
            raise ValueError("a MATLAB file that is cut short")
        data = content[start : start + size]
        if kind == _COMPRESSED:
            yield from _elements(zlib.decompress(data), order)
            place = start + size
        else:
            yield kind, data
            place = start + size + -(start + size) % 8


def _array(data: bytes, order: str) -> tuple[str, np.ndarray] | None:
    """Name and numbers of a matrix; None for text, cells and the like."""
    parts = _elements(data, order)
    flags, shape, name = (next(parts)[1] for _ in range(3))
    if struct.unpack_from(f"{order}I", flags)[0] & 0xFF not in _NUMERIC:
        return None
    kind, numbers = next(parts)
    sides = np.frombuffer(shape, dtype=f"{order}i4")
    return name.decode(), np.frombuffer(numbers, dtype=f"{order}{_TYPES[kind]}").reshape(sides, order="F")


def _element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)
