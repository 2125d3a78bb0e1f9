"""Train ids drawn from the polygons of IDD, whose downloads hold ``*_gtFine_polygons.json`` and no label images."""

import json
from pathlib import Path

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


def rasterise(path: Path) -> np.ndarray:
    """The train ids that a file of polygons draws: H,W uint8, 255 where nothing is drawn.

    Later polygons cover earlier ones; deleted ones and those of fewer than three points are left out.
    """
    try:
        annotation = json.loads(path.read_bytes())
        canvas = Image.new("L", (annotation["imgWidth"], annotation["imgHeight"]), IGNORE)
        drawing = ImageDraw.Draw(canvas)
        for shape in annotation["objects"]:
            points = [(float(x), float(y)) for x, y in shape["polygon"]]
            if not shape.get("deleted") and len(points) >= 3:
                drawing.polygon(points, fill=train_id(shape["label"]))
    except Exception as error:  # any kind, as the file may hold anything
        problem = f"{type(error).__name__}: {first_line(error)}"
        raise UsageError(f"{path}: holds no polygons of IDD ({problem}): fetch the file again") from error
    return np.asarray(canvas)


def train_id(name: str) -> int:
    """The train id of a name; a group has the class of its members, unless it is a class itself."""
    return IDD_CLASSES[name if name in IDD_CLASSES else name.removesuffix("group")]
