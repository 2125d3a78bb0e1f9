"""Label files as they are stored."""

from pathlib import Path

import numpy as np
from PIL import Image

from datasets.labels import IGNORE


def read_8_bit(path: Path | str) -> np.ndarray:
    """Indices H,W of a grey or palette image, colours H,W,3 of a colour image."""
    with Image.open(path) as image:
        if image.mode not in ("L", "P", "RGB", "RGBA"):
            raise ValueError(f"mode {image.mode}, expected an 8-bit image")
        return np.asarray(image)


def read_16_bit(path: Path | str) -> np.ndarray:
    """Class ids H,W: channel 0 of a 16-bit PNG, whose high byte is all that Pillow would keep (zeros)."""
    # Imported here: what only lists files or prints a plan must not wait for torch.
    from torch import uint16
    from torchvision.io import decode_image

    with Image.open(path) as image:
        image.verify()  # its checksums: on a broken file the decoder may crash the process
    channels = decode_image(str(path), mode="UNCHANGED")
    if channels.dtype != uint16:
        raise ValueError("8 bit per channel, expected the 16-bit files of GT/LABELS")
    return np.minimum(channels[0].numpy(), IGNORE).astype(np.uint8)


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
