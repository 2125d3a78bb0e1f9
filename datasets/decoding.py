"""From files to pixels: an image, its label, and the pair of both.  Imports no torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from datasets.disk.layouts import Sample
from datasets.disk.polygons import rasterise
from datasets.labels import CLASSES, IDENTITY, IGNORE, STANDARD, ClassSet
from utils.errors import UsageError, first_line
from utils.pictures import opencv

# Raw modes of Pillow: stretched to 255 from these numbers; of several channels, with high bytes kept only; 0 is white.
STRETCHED = {"L;2": 3, "L;2R": 3, "L;4": 15, "L;4R": 15}
SIXTEEN_BIT = (";16B", ";16L", ";16N")
INVERTED = (";I", "2I", "4I", "IR")
INTEGERS = ("1", "L", "LA", "P", "PA", "I", "I;16", "I;16B", "F", "RGB", "RGBA")  # modes in which labels are kept

Numbers = tuple[np.ndarray, np.ndarray | None]  # H,W or H,W,3 uint8, and the colours (256,3) of their palette


class ScaleError(ValueError):
    """The numbers of an image do not show which of them is white."""


def read_image(path: Path, *, upright: bool = False) -> Image.Image:
    """An image file as RGB; ``upright`` turns it as its camera says (EXIF)."""
    try:
        with opened(path) as image:
            return as_rgb(image, upright=upright)
    except ScaleError as error:
        raise UsageError(f"{path}: {error}: save the image with 8 bits per channel") from error
    except Exception as error:  # Pillow raises many kinds for a broken or enormous file
        remedy = "fetch the file again or take it away"
        if isinstance(error, UnidentifiedImageError):  # TIFFs of floats or of many bands, too
            remedy = "fetch the file again, or save it as RGB with 8 bits per channel"
        raise _refusal(path, "image", error, remedy) from error


def as_rgb(image: Image.Image, *, upright: bool = False) -> Image.Image:
    """An image in any mode as RGB; ``upright`` turns it as its camera says.  ScaleError if its white is unknown."""
    raw, _ = _storage(image)
    if raw == "R" and 16 in getattr(image, "tag_v2", {}).get(258, ()):  # a TIFF, by its bits per sample
        raise ScaleError("holds 16 bits in separate planes, which Pillow misreads")
    image = ImageOps.exif_transpose(image) if upright else image
    image.load()
    image = _eight_bit(image, raw)
    return image if image.mode == "RGB" else image.convert("RGB")


def opened(path: Path) -> Image.Image:
    """A picture, its pixels unread; Pillow does not map the file into memory, where it misreads a turned TIFF."""
    image = Image.open(path)
    image.filename = ""
    return image


def _eight_bit(image: Image.Image, raw: str) -> Image.Image:
    """The high bytes of an image of 16 bits per number, which Pillow itself would clip at 255 or keep unseen.

    ScaleError for floats, and for integers that need more or fewer bits (12 of 16 would be nearly black).
    """
    if image.mode == "F":
        raise ScaleError("holds floats (mode F), whose white is unknown")
    if not image.mode.startswith("I"):
        if raw.endswith(SIXTEEN_BIT) and max(highest for _, highest in image.convert("RGB").getextrema()) < 16:
            raise ScaleError("holds numbers up to 4095 in 16 bits, whose white is unknown")
        return image
    numbers = np.asarray(image)
    if numbers.any() and (numbers.min() < 0 or not 4095 < numbers.max() <= 65535):
        raise ScaleError(f"holds numbers from {numbers.min()} to {numbers.max()}, whose white is unknown")
    return Image.fromarray((numbers >> 8).astype(np.uint8))


def _refusal(path: Path, kind: str, error: Exception, remedy: str) -> UsageError:
    """The line about a file that Pillow does not read."""
    if isinstance(error, Image.DecompressionBombError):
        limit = f"{2 * Image.MAX_IMAGE_PIXELS / 1e6:.0f} million pixels"
        return UsageError(f"{path}: {kind} too large, with more than {limit}: cut it into tiles, or make it smaller")
    return UsageError(f"{path}: unreadable {kind} ({first_line(error)}): {remedy}")


def picture_size(path: Path, *, upright: bool = False) -> tuple[int, int] | None:
    """Width and height from the head of a file, turned as its camera says if ``upright``; None if it lacks them."""
    try:
        with path.open("rb") as file:
            head = file.read(24)
        if not upright and head[:8] == b"\x89PNG\r\n\x1a\n" and len(head) == 24:  # Pillow takes several times as long
            return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
        with Image.open(path) as image:
            if upright and orientation(image) > 4:
                return None if image.format == "TIFF" else image.size[::-1]  # Pillow turns a TIFF, some versions later
            return image.size
    except Exception:  # Pillow raises many kinds
        return None


def orientation(image: Image.Image) -> int:
    """How the camera was held (EXIF): 2 to 8 if the pixels are to be turned, 1 if not, also for unknown values."""
    stored = image.getexif().get(ExifTags.Base.Orientation)
    return next((known for known in range(2, 9) if stored == known), 1)


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelFormat:
    """How a data set stores the classes of its labels."""

    name: str  # of the data set
    table: np.ndarray  # uint8[256]: stored id -> train id
    classes: ClassSet = STANDARD  # the classes that the table leads to
    ids: Sequence[int]  # the ids that labels store; 255 stands for pixels without a label
    palette: np.ndarray | None = None  # N,3 uint8: the colours of the ids, if labels may be colour images
    sixteen_bit: bool = False  # ids are the first channel of 16-bit PNGs
    upright: bool = False  # labels fit images that are turned as their camera says (EXIF)
    remedy: str = "give the labels of this data set in the version that docs/datasets.md names"  # for unknown ids

    @property
    def reading(self) -> bytes:
        """Everything that decides which class a stored id means; it enters hashes of what is made from labels."""
        return self.table.tobytes()

    def decode(self, path: Path) -> np.ndarray:
        """The train ids of a label file: H,W uint8, 255 = ignore."""
        return opencv().LUT(self.stored(path), self.table_of(path))  # as table[stored], but faster

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
        stored, palette = read_label(path, read_16_bit if self.sixteen_bit and not train_ids else read_numbers)
        if stored.ndim == 3 and self.palette is not None:
            stored = indices(stored, self.palette)
        elif stored.ndim == 3 and (stored == stored[..., :1]).all():
            stored = stored[..., 0]
        elif stored.ndim == 3:
            raise UsageError(f"{path}: is a colour image where {self.name} labels are class indices: {self.remedy}")
        ids = range(len(CLASSES)) if train_ids else self.ids
        unknown = np.ones(256, np.uint8)
        unknown[[*ids, IGNORE]] = 0
        if (others := opencv().LUT(stored, unknown)).any():
            dense = list(ids) == list(range(len(ids)))
            known = f"0 to {len(ids) - 1}" if dense else ", ".join(map(str, ids))
            held = ", ".join(map(str, np.unique(stored[others > 0])[:5]))
            raise UsageError(f"{path}: holds the ids {held}, but {self.name} has {known} and {IGNORE}: {self.remedy}")
        return stored if palette is None else self._by_palette(path, stored, palette)

    def _by_palette(self, path: Path, stored: np.ndarray, palette: np.ndarray) -> np.ndarray:
        """The ids of a label (H,W uint8) with a palette (256,3): its indices, or those of its colours.

        Editors sort palettes anew.  So the colours count if an index has the colour of another class.
        UsageError if there are also colours of no class.
        """
        table = self.table_of(path)
        ids = np.flatnonzero(table != IGNORE)
        colours = np.array(self.classes.colours, np.uint8)[table[ids]]
        if self.palette is not None and table is self.table:
            ids, colours = np.arange(len(self.palette)), self.palette
        expected, place = palette.copy(), indices(palette, colours)
        place[IGNORE] = IGNORE  # whatever its colour is: palettes end with black ones that nobody chose
        expected[ids] = colours
        other = (expected != palette).any(1) & (place != IGNORE)
        if not other.any() or not other[used := np.flatnonzero(np.bincount(stored.ravel()))].any():
            return stored
        for colour in palette[used[(place[used] == IGNORE) & (used != IGNORE)]].tolist():
            problem = f"its palette has the classes in another order, and the colour {colour} of no class"
            raise UsageError(f"{path}: {problem}: {self.remedy}")
        return np.append(ids, np.full(256 - len(ids), IGNORE)).astype(np.uint8)[place][stored]


def read_label(path: Path, read: Callable[[Path], Numbers]) -> Numbers:
    """What ``read`` returns for a label file; UsageError if it fails."""
    try:
        return read(path)
    except Exception as error:  # Pillow raises many kinds for a broken or enormous file
        raise _refusal(path, "label", error, "fetch or convert the file again") from error


def read_colours(path: Path) -> Numbers:
    """The colours of a label in any mode of 8 bits."""
    with opened(path) as image:
        if image.mode not in INTEGERS or image.mode[0] in "IF":
            raise ValueError(f"stored as mode {image.mode}, expected 8 bits per channel")
        return np.asarray(image.convert("RGB")), None


def read_16_bit(path: Path) -> Numbers:
    """Class ids: the first channel of an RGB PNG of 16 bits per channel, 255 for greater numbers."""
    with Image.open(path) as image:
        decoder, box, offset, raw = image.tile[0]
        if raw != "RGB;16B":
            raise ValueError(f"stored as {raw}, expected the 16-bit RGB files of GT/LABELS")
        image.tile = [(decoder, box, offset, "RGBXXX")]  # keeps the first three of six bytes; else it is the high ones
        high, low, _ = np.moveaxis(np.asarray(image), -1, 0)
    return np.where(high, IGNORE, low).astype(np.uint8, copy=False), None


def read_numbers(path: Path) -> Numbers:
    """The integers of a label as they are stored: one for each pixel, or three.

    ValueError, with what is expected, for what cannot be read without a guess.
    """
    with opened(path) as image:
        raw, white = _storage(image)
        deep_colours = image.mode in ("LA", "RGB", "RGBA") and raw.endswith(SIXTEEN_BIT)
        if image.mode not in INTEGERS or raw.endswith(INVERTED) or deep_colours:
            raise ValueError(f"stored as {raw or image.mode}, expected 8 bits in one channel")
        numbers, palette = np.asarray(image), None
        if image.mode[0] == "P":
            palette = np.frombuffer(bytes(image.getpalette()).ljust(3 * 256, b"\0"), np.uint8).reshape(256, 3)
    if image.format == "GIF" and palette is not None and (palette == palette[:, :1]).all():  # it has no other greys
        numbers, palette = palette[numbers, 0], None
    if image.mode[-1] == "A":
        if numbers[..., -1].min() < 255:
            raise ValueError("has transparent pixels, expected 8 bits in one channel")
        numbers = numbers[..., :3] if image.mode == "RGBA" else numbers[..., 0]
    if white:  # the inverse of Pillow's rounding
        numbers = np.rint(numbers * (white / (65535 if image.mode == "I" else 255)))
    low, high = numbers.min(), numbers.max()
    if not (low >= 0 and high <= 255 and (numbers.dtype.kind != "f" or (numbers % 1 == 0).all())):
        raise ValueError(f"holds numbers from {low:g} to {high:g}, expected integers from 0 to 255")
    return numbers.astype(np.uint8, copy=False), palette


def _storage(image: Image.Image) -> tuple[str, int | None]:
    """Pillow's name for the form of the pixels, and the stored number that it stretches to white, if it does."""
    tiles = getattr(image, "tile", ())  # an image in memory has none
    decoder, _, _, form = tiles[0] if tiles else ("", None, 0, "")
    raw, *more = form if isinstance(form, tuple) else (form,)
    return str(raw), more[0] if more and decoder.startswith("ppm") else STRETCHED.get(raw)


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
    image, label = read_image(sample.image, upright=spec.upright), spec.decode(sample.label)
    check_sizes(sample, image.size, label.shape)
    return image, label


def check_sizes(sample: Sample, size: tuple[int, int], shape: tuple[int, ...]) -> None:
    """UsageError unless an image (width, height) and its label (rows, columns) are equal in size."""
    if shape != size[::-1]:
        image, label = (f"{width}x{height}" for width, height in (size, shape[::-1]))
        remedy = "turn the pixels of one, and remove an EXIF rotation" if shape == size else "fetch both again"
        raise UsageError(f"{sample.image}: is {image} but its label {sample.label} is {label}: {remedy}")


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
