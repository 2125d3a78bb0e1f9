"""Label files as they are stored."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.labels import IGNORE

STRETCHED = {"L;2": 85, "L;4": 17}  # what Pillow multiplies grey of 2 or 4 bits by


def read_8_bit(path: Path | str) -> np.ndarray:
    """Indices H,W of a grey or palette image, as stored, colours H,W,3 of a colour image."""
    with Image.open(path) as image:
        if image.mode not in ("L", "P", "RGB", "RGBA"):
            raise ValueError(f"mode {image.mode}, expected an 8-bit image")
        factor = STRETCHED.get(str(image.tile[0][3]) if image.tile else "", 1)
        return np.asarray(image) // np.uint8(factor) if factor > 1 else np.asarray(image)


def read_colours(path: Path | str) -> np.ndarray:
    """Colours H,W,3 of a colour or palette image, or of a grey one, whose parts are equal."""
    with Image.open(path) as image:
        if image.mode not in ("L", "P", "RGB", "RGBA"):
            raise ValueError(f"mode {image.mode}, expected an 8-bit image")
        return np.asarray(image.convert("RGB"))


def read_16_bit(path: Path | str) -> np.ndarray:
    """Class ids H,W: channel 0 of a 16-bit PNG, whose high byte is all that Pillow would keep (zeros)."""
    # What has torch decodes the file once; what has not must not wait for it, which takes longer than 100 such files.
    channel = _first_by_torch(path) if "torch" in sys.modules else _first_by_pillow(path)
    if channel is None:
        raise ValueError("8 bit per channel, expected the 16-bit files of GT/LABELS")
    return np.minimum(channel, IGNORE).astype(np.uint8)


def _first_by_torch(path: Path | str) -> np.ndarray | None:
    from torch import uint16
    from torchvision.io import decode_image

    with Image.open(path) as image:
        image.verify()  # its checksums: on a broken file the decoder may crash the process
    channels = decode_image(str(path), mode="UNCHANGED")
    return channels[0].numpy() if channels.dtype == uint16 else None


def _first_by_pillow(path: Path | str) -> np.ndarray | None:
    """Decoded twice: once for the high bytes, which is what Pillow does, and once as if the low ones were those."""
    with Image.open(path) as image:
        order = str(image.tile[0][3]) if image.tile else ""
    if order != "RGB;16B":
        return _first_by_torch(path) if "16" in order else None  # grey, with or without alpha
    high, low = (_bytes(path, order)[..., 0].astype(np.uint16) for order in ("RGB;16B", "RGB;16L"))
    return high << 8 | low


def _bytes(path: Path | str, order: str) -> np.ndarray:
    """One byte of each channel, H,W,3: the high one of numbers stored in this order."""
    with Image.open(path) as image:
        image.tile = [(*tile[:3], order) for tile in image.tile]
        return np.asarray(image)


def indices(colours: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """The place of each colour (H,W,3) in a palette (N,3), 255 for colours that are not there.

    Equal colours (pole and pole group, car and licence plate) share the first place.
    """
    known, first = np.unique(_packed(palette), return_index=True)
    pixels = _packed(colours)
    place = np.minimum(np.searchsorted(known, pixels), len(known) - 1)
    return np.where(known[place] == pixels, first[place], IGNORE).astype(np.uint8)


def picture_size(path: Path) -> tuple[int, int] | None:
    """Width and height from the head of a file, None if it cannot be read; that is told when it is opened."""
    try:
        with path.open("rb") as file:
            head = file.read(24)
        if head[:8] == b"\x89PNG\r\n\x1a\n" and len(head) == 24:
            return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
        with Image.open(path) as image:
            return image.size
    except Exception:  # Pillow raises many kinds
        return None


def _packed(colours: np.ndarray) -> np.ndarray:
    red, green, blue = np.moveaxis(colours[..., :3].astype(np.int32), -1, 0)
    return red << 16 | green << 8 | blue
