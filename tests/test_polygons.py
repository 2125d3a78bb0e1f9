"""Polygons of IDD against masks drawn by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.disk.polygons import IDD_CLASSES, rasterise
from datasets.labels import CLASSES, IGNORE
from utils.errors import UsageError

WIDTH, HEIGHT = 12, 8


def square(label: str, left: int, top: int, right: int, bottom: int, **more: Any) -> dict[str, Any]:
    """An object as wide as its corner pixels, both included."""
    corners = [[left, top], [right, top], [right, bottom], [left, bottom]]
    return {"label": label, "polygon": corners, "deleted": 0, **more}


def write(path: Path, *objects: Any, **more: Any) -> Path:
    path.write_text(json.dumps({"imgWidth": WIDTH, "imgHeight": HEIGHT, "objects": list(objects), **more}))
    return path


ROAD, CAR = square("road", 1, 1, 8, 6), square("car", 4, 3, 10, 7)
DRAWINGS = {
    "nothing": ([], []),
    "later covers earlier": ([ROAD, CAR], [(0, 1, 1, 8, 6), (13, 4, 3, 10, 7)]),
    "the other order": ([CAR, ROAD], [(13, 4, 3, 10, 7), (0, 1, 1, 8, 6)]),
    "deleted": ([ROAD, CAR | {"deleted": 1}], [(0, 1, 1, 8, 6)]),
    "two points": ([ROAD, CAR | {"polygon": [[0, 0], [9, 9]]}], [(0, 1, 1, 8, 6)]),
    "groups": (
        [square("cargroup", 0, 0, 3, 3), square("polegroup", 2, 2, 3, 3)], [(13, 0, 0, 3, 3), (IGNORE, 2, 2, 3, 3)]),
    "outside of the canvas": (
        [square("sky", -5, -9, 6, 2), square("road", 40, 2, 60, 5), square("wall", 9, 5, 30, 99)],
        [(10, -5, -9, 6, 2), (3, 9, 5, 30, 99)]),
    "fractions are cut to pixels": (
        [{"label": "bus", "polygon": [[1.9, 1.2], [4.9, 1.2], [4.9, 3.9], [1.9, 3.9]]}], [(15, 1, 1, 4, 3)]),
}  # fmt: skip


@pytest.mark.parametrize("case", DRAWINGS)
def test_drawings(case: str, tmp_path: Path) -> None:
    objects, squares = DRAWINGS[case]
    expected = np.full((HEIGHT, WIDTH), IGNORE, np.uint8)
    for train_id, left, top, right, bottom in squares:
        expected[max(0, top) : bottom + 1, max(0, left) : right + 1] = train_id
    drawn = rasterise(write(tmp_path / "a_gtFine_polygons.json", *objects))
    assert drawn.dtype == np.uint8 and (drawn == expected).all()


def test_the_table() -> None:
    assert len(IDD_CLASSES) == 40 and set(IDD_CLASSES.values()) == {*range(19), IGNORE}
    assert list(IDD_CLASSES).index("license plate") == 39 and list(IDD_CLASSES).index("polegroup") == 27
    assert IDD_CLASSES["non-drivable fallback"] == CLASSES.index("terrain")
    same = [name for name in CLASSES if name in IDD_CLASSES]
    assert len(same) == 18 and all(IDD_CLASSES[name] == CLASSES.index(name) for name in same)


BROKEN = {
    "unknown label": ([square("spaceship", 0, 0, 3, 3)], {}, "'spaceship'"),
    "only group": ([square("group", 0, 0, 3, 3)], {}, "KeyError"),
    "no polygon": ([{"label": "road"}], {}, "'polygon'"),
    "object is a list": ([[1, 2]], {}, "TypeError"),
    "three numbers": ([{"label": "road", "polygon": [[0, 0, 1]]}], {}, "ValueError"),
    "no height": ([], {"imgHeight": "8"}, "TypeError"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_refused_in_one_line(case: str, tmp_path: Path) -> None:
    objects, more, named = BROKEN[case]
    path = write(tmp_path / "a_gtFine_polygons.json", *objects, **more)
    with pytest.raises(UsageError, match=rf"^{path}: [^\n]*{named}[^\n]*$"):
        rasterise(path)


@pytest.mark.parametrize("text", [b"", b"{", b"null", b"\xff\xfe\x00", None])
def test_other_files_are_refused_in_one_line(text: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "a_gtFine_polygons.json"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(UsageError, match=rf"^{path}: [^\n]*$"):
        rasterise(path)
