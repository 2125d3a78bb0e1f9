"""Train ids drawn from the polygons of IDD, whose downloads hold ``*_gtFine_polygons.json`` and no label images."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from datasets.labels import IGNORE
from utils.errors import UsageError, first_line

# Train id of every name; the ids, 0 to 39, are the places in this table (csTrainId of the owners' label definitions).
# fmt: off
IDD_CLASSES: dict[str, int] = {
    "road": 0, "parking": IGNORE, "drivable fallback": IGNORE, "sidewalk": 1, "rail track": IGNORE,
    "non-drivable fallback": 9, "person": 11, "animal": IGNORE, "rider": 12, "motorcycle": 17, "bicycle": 18,
    "autorickshaw": IGNORE, "car": 13, "truck": 14, "bus": 15, "caravan": IGNORE, "trailer": IGNORE, "train": 16,
    "vehicle fallback": IGNORE, "curb": IGNORE, "wall": 3, "fence": 4, "guard rail": IGNORE, "billboard": IGNORE,
    "traffic sign": 7, "traffic light": 6, "pole": 5, "polegroup": IGNORE, "obs-str-bar-fallback": IGNORE,
    "building": 2, "bridge": IGNORE, "tunnel": IGNORE, "vegetation": 8, "sky": 10, "fallback background": IGNORE,
    "unlabeled": IGNORE, "ego vehicle": IGNORE, "rectification border": IGNORE, "out of roi": IGNORE,
    "license plate": IGNORE,
}
# fmt: on

LARGEST_SIDE, LARGEST_AREA = 32_767, 2**27  # of a canvas, in pixels
FARTHEST = 1e6  # coordinates beyond it are no pixels; Pillow would draw them anywhere


def rasterise(path: Path) -> np.ndarray:
    """The train ids that a file of polygons draws: H,W uint8, 255 where nothing is drawn.

    Later polygons cover earlier ones; deleted ones and those of fewer than three points are left out.
    """
    try:
        annotation = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: unreadable polygons ({first_line(error)}): fetch the file again") from error
    width, height = (_entry(annotation, name, int, path) for name in ("imgWidth", "imgHeight"))
    if not (0 < width <= LARGEST_SIDE and 0 < height <= LARGEST_SIDE and width * height <= LARGEST_AREA):
        raise UsageError(f"{path}: asks for a canvas of {width}x{height} pixels: fetch the file again")
    canvas = Image.new("L", (width, height), IGNORE)
    drawing = ImageDraw.Draw(canvas)
    for number, shape in enumerate(_entry(annotation, "objects", list, path)):
        place = f"{path}: object {number}"
        points = _points(_entry(shape, "polygon", list, place), place)
        if not shape.get("deleted") and len(points) >= 3:
            drawing.polygon(points, fill=_train_id(_entry(shape, "label", str, place), place))
    return np.asarray(canvas)


def _entry(holder: Any, name: str, form: type, place: Path | str) -> Any:
    value = holder.get(name) if isinstance(holder, dict) else None
    if not isinstance(value, form) or isinstance(value, bool):
        raise UsageError(f"{place}: has no {name}, or not as in the polygons of IDD: fetch the file again")
    return value


def _points(polygon: list, place: str) -> list[tuple[float, float]]:
    try:
        points = [(float(x), float(y)) for x, y in polygon]
    except (TypeError, ValueError, OverflowError):
        points = [(np.inf, np.inf)]
    if not all(abs(x) <= FARTHEST and abs(y) <= FARTHEST for x, y in points):
        raise UsageError(f"{place}: holds points that are no pairs of pixel coordinates: fetch the file again")
    return points


def _train_id(name: str, place: str) -> int:
    """The train id of a name; a group has the class of its members, unless it is a class itself."""
    for known in (name, name.removesuffix("group")):
        if known in IDD_CLASSES:
            return IDD_CLASSES[known]
    raise UsageError(f"{place}: label '{name}' is no class of IDD: fetch the file again or correct the label there")
