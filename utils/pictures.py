"""Pictures of predictions, as arrays and files."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image, ImageDraw

from utils.files import whole_file

OVERLAY = 0.6  # share of the colours in an overlay
TITLE, GAP = 20, 4  # pixels: height of the line above a tile, space between tiles


def overlay(image: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """An image with colours blended over it; all are H,W,3 uint8."""
    return (OVERLAY * colours.astype(np.float32) + (1 - OVERLAY) * image).astype(np.uint8)


@cache
def opencv() -> ModuleType:
    """OpenCV with a single thread: each loading process has one core, and no thread outlives the fork that makes it."""
    import cv2  # late: programs that load no images start faster

    cv2.setNumThreads(1)
    return cv2


def errors(image: np.ndarray, labels: np.ndarray, prediction: np.ndarray, num_classes: int) -> np.ndarray:
    """The image in grey with wrong pixels in red and unlabelled ones dark; labels and prediction are H,W uint8."""
    grey = np.asarray(Image.fromarray(image).convert("L"))[..., None].repeat(3, axis=2)
    picture = np.where((labels < num_classes)[..., None], grey, grey // 3)
    picture[(labels < num_classes) & (labels != prediction)] = 220, 40, 40
    return picture


def heat(values: np.ndarray) -> np.ndarray:
    """Colours (H,W,3 uint8) for values from 0 to 1 (H,W).  Viridis grows lighter: a print in grey shows the order."""
    cv2 = opencv()
    return cv2.applyColorMap((255 * values).round().astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1]


def contact_sheet(tiles: Mapping[str, np.ndarray], *, columns: int = 4, width: int = 320) -> np.ndarray:
    """A sheet of titled tiles (H,W,3 uint8, all of one size), resized to ``width``, ``columns`` in a row."""
    height, wide = next(iter(tiles.values())).shape[:2]
    size = (width, max(1, round(width * height / wide)))
    rows = -(-len(tiles) // columns)
    columns = min(columns, len(tiles))
    step = (width + GAP, size[1] + TITLE + GAP)
    sheet = Image.new("RGB", (columns * step[0] - GAP, rows * step[1] - GAP), "white")
    for index, (title, tile) in enumerate(tiles.items()):
        left, top = index % columns * step[0], index // columns * step[1]
        head = Image.new("RGB", (width, TITLE), "white")  # ends a long title at the edge of its tile
        ImageDraw.Draw(head).text((3, 1), title, "black", font_size=14)
        sheet.paste(head, (left, top))
        sheet.paste(Image.fromarray(tile).resize(size, Image.Resampling.LANCZOS), (left, top + TITLE))
    return np.asarray(sheet)


def save_picture(path: Path, picture: np.ndarray) -> None:
    """Write H,W,3 or H,W uint8 as a PNG, completely or not at all.  Folders are created as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        Image.fromarray(picture).save(partial, format="PNG", compress_level=1)
