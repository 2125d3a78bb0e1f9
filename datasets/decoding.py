"""From files to pixels: an image, its label, and the pair of both.  Imports no torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from datasets.disk.layouts import Sample
from datasets.disk.polygons import rasterise
from datasets.labels import CLASSES, IDENTITY, IGNORE
from utils.errors import UsageError, first_line

STRETCHED = {"L;2": 85, "L;4": 17}  # Pillow multiplies grey values of 2 or 4 bits by these factors


class ScaleError(ValueError):
    """The numbers of an image do not show which of them is white."""


def read_image(path: Path, *, upright: bool = False) -> Image.Image:
    """An image file as RGB; ``upright`` turns it as its camera says (EXIF), which labelled images never are."""
    try:
        with Image.open(path) as image:
            image = ImageOps.exif_transpose(image) if upright else image
            image.load()
            return image if image.mode == "RGB" else _eight_bit(image).convert("RGB")
    except ScaleError as error:
        raise UsageError(f"{path}: {error}: save the image with 8 bits per channel") from error
    except Exception as error:  # Pillow raises many kinds for a broken or enormous file
        remedy = "fetch the file again or take it away"
        raise UsageError(f"{path}: unreadable image ({first_line(error)}): {remedy}") from error


def _eight_bit(image: Image.Image) -> Image.Image:
    """The high bytes of an image of 16 bits per pixel, which Pillow itself would clip at 255.

    ScaleError for floats, and for integers that need more or fewer bits (12 of 16 would be nearly black).
    """
    if image.mode == "F":
        raise ScaleError("holds floats (mode F), whose white is unknown")
    if not image.mode.startswith("I"):
        return image
    numbers = np.asarray(image)
    if numbers.any() and (numbers.min() < 0 or not 4095 < numbers.max() <= 65535):
        raise ScaleError(f"holds numbers from {numbers.min()} to {numbers.max()}, whose white is unknown")
    return Image.fromarray((numbers >> 8).astype(np.uint8))


def picture_size(path: Path) -> tuple[int, int] | None:
    """Width and height from the head of a file; None if it cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(24)
        if head[:8] == b"\x89PNG\r\n\x1a\n" and len(head) == 24:  # without Pillow, which takes several times as long
            return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
        with Image.open(path) as image:
            return image.size
    except Exception:  # Pillow raises many kinds
        return None


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelFormat:
    """How a data set stores the classes of its labels."""

    name: str  # of the data set
    table: np.ndarray  # uint8[256]: stored id -> train id
    ids: Sequence[int]  # the ids that labels store; 255 stands for pixels without a label
    palette: np.ndarray | None = None  # N,3 uint8: the colours of the ids, if labels may be colour images
    sixteen_bit: bool = False  # ids are the first channel of 16-bit PNGs
    remedy: str = "give the labels of this data set in the version that the README names"  # for unknown ids

    @property
    def reading(self) -> bytes:
        """Everything that decides which class a stored id means; it enters hashes of what is made from labels."""
        return self.table.tobytes()

    def decode(self, path: Path) -> np.ndarray:
        """The train ids of a label file: H,W uint8, 255 = ignore."""
        stored, table = self.stored(path), self.table_of(path)
        # The same as table[stored], in half the time.
        return np.frombuffer(stored.tobytes().translate(table.tobytes()), np.uint8).reshape(stored.shape)

    def table_of(self, path: Path) -> np.ndarray:
        """The lookup table for the ids of a label file: uint8[256]."""
        return IDENTITY if path.suffix == ".json" or self.holds_train_ids(path) else self.table

    def holds_train_ids(self, path: Path) -> bool:
        """Whether a file has the name that the owners' tools give to labels in train ids."""
        return path.stem.endswith("TrainIds")

    def stored(self, path: Path) -> np.ndarray:
        """The ids in a label file: H,W uint8; UsageError for ids that the data set does not have."""
        if path.suffix == ".json":
            return rasterise(path)
        train_ids = self.holds_train_ids(path)
        stored = read_label(path, read_16_bit if self.sixteen_bit and not train_ids else read_8_bit)
        if stored.ndim == 3 and self.palette is None:
            raise UsageError(f"{path}: is a colour image where {self.name} labels are class indices: give label files")
        if stored.ndim == 3:
            stored = indices(stored, self.palette)
        ids = range(len(CLASSES)) if train_ids else self.ids
        if others := set(stored.tobytes().translate(None, delete=bytes([*ids, IGNORE]))):
            dense = list(ids) == list(range(len(ids)))
            known = f"0 to {len(ids) - 1}" if dense else ", ".join(map(str, ids))
            held = ", ".join(map(str, sorted(others)[:5]))
            raise UsageError(f"{path}: holds the ids {held}, but {self.name} has {known} and {IGNORE}: {self.remedy}")
        return stored


def read_label(path: Path, read: Callable[..., np.ndarray], **options: bool) -> np.ndarray:
    """The array that ``read`` returns for a label file; UsageError if it fails."""
    try:
        return read(path, **options)
    except Exception as error:  # Pillow raises many kinds for a broken or enormous file
        raise UsageError(f"{path}: unreadable label ({first_line(error)}): fetch or convert the file again") from error


def read_8_bit(path: Path, *, colours: bool = False) -> np.ndarray:
    """Indices H,W of a grey or palette image, as stored; colours H,W,3 of a colour image, with ``colours`` of any."""
    with Image.open(path) as image:
        if image.mode not in ("L", "P", "RGB", "RGBA"):
            raise ValueError(f"mode {image.mode}, expected an 8-bit image")
        if colours:
            return np.asarray(image.convert("RGB"))
        factor = STRETCHED.get(_raw_mode(image), 1)
        return np.asarray(image) // np.uint8(factor) if factor > 1 else np.asarray(image)


def _raw_mode(image: Image.Image) -> str:
    """Pillow's name for the way in which pixels are stored."""
    return str(image.tile[0][3]) if image.tile else ""


def read_16_bit(path: Path) -> np.ndarray:
    """Class ids H,W: channel 0 of a PNG of 16 bits per channel, 255 for greater numbers."""
    with Image.open(path) as image:
        mode = _raw_mode(image)
        image.verify()  # the checksums: a broken file may crash torch's decoder, and the process with it
    if "16" not in mode:
        raise ValueError("8 bit per channel, expected the 16-bit files of GT/LABELS")
    from torchvision.io import decode_image  # Pillow keeps the high bytes only; slow to import

    return np.minimum(decode_image(str(path), mode="UNCHANGED")[0].numpy(), IGNORE).astype(np.uint8)


def indices(colours: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """The place of each colour (H,W,3) in a palette (N,3), 255 for colours that it lacks.

    Equal colours (pole and pole group, car and licence plate) share the first place.
    """
    known, first = np.unique(_as_numbers(palette), return_index=True)
    pixels = _as_numbers(colours)
    place = np.minimum(np.searchsorted(known, pixels), len(known) - 1)
    return np.where(known[place] == pixels, first[place], IGNORE).astype(np.uint8)


def _as_numbers(colours: np.ndarray) -> np.ndarray:
    red, green, blue = np.moveaxis(colours[..., :3].astype(np.int32), -1, 0)
    return red << 16 | green << 8 | blue


def read_pair(
    spec: LabelFormat, sample: Sample, copies: Mapping[Path, Path] | None = None
) -> tuple[Image.Image, np.ndarray]:
    """An image (RGB) and its train ids (H,W uint8), equal in size; from its packed copy if ``copies`` has one."""
    if copies and (copy := copies.get(sample.image)):
        return read_copy(copy)
    image, label = read_image(sample.image), spec.decode(sample.label)
    check_sizes(sample, image.size, label.shape)
    return image, label


def check_sizes(sample: Sample, size: tuple[int, int], shape: tuple[int, ...]) -> None:
    """UsageError unless an image (width, height) and its label (rows, columns) are equal in size."""
    if shape != size[::-1]:
        image, label = (f"{width}x{height}" for width, height in (size, shape[::-1]))
        raise UsageError(f"{sample.image}: is {image} but its label {sample.label} is {label}: fetch both again")


def read_copy(path: Path) -> tuple[Image.Image, np.ndarray]:
    """The image (RGB) and its train ids (H,W uint8) from a packed copy: a TIFF whose first page is the label."""
    try:
        with Image.open(path) as pages:
            label = np.asarray(pages)
            pages.seek(1)
            pages.load()
            return pages, label
    except Exception as error:  # Pillow raises many kinds
        raise UsageError(f"{path}: unreadable copy ({first_line(error)}): delete this file and pack again") from error
