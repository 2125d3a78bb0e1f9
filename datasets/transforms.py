"""Augmentation of an image together with its label, and the geometry of evaluation.

Whole images are Pillow RGB, crops their pixels (H,W,3 uint8), labels H,W uint8 train ids.  Everything random is drawn
from the generator that is passed in.
Distributions and order are the published ones: scale, pad, crop, flip, (rotate), colour jitter, blur.
"""

from dataclasses import dataclass
from functools import cache
from math import ceil

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageEnhance
from PIL.Image import Resampling
from torch import Tensor

from datasets.bilateral import bilateral
from datasets.labels import IGNORE
from datasets.options import AugmentationOptions
from utils.pictures import opencv

Pair = tuple[np.ndarray, np.ndarray]  # the pixels of a crop, and its label

# Brightness, contrast, saturation, hue.
NORMAL = (0.4, 0.4, 0.4, 0.1)
HARD = (0.8, 0.8, 0.8, 0.3)

CLOSE = 1 / 128  # of a source pixel: places that are closer than this count as one

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def cut(
    image: Image.Image, label: np.ndarray, *, size: tuple[int, int], corner: tuple[int, int], crop: int, fill: int
) -> Pair:
    """The window crop x crop at ``corner`` (x, y) of the pair resized to ``size`` (w, h), without resizing the rest.

    Bicubic for the image, nearest for the label.  A window may reach beyond the resized pair: there the image is black
    and the label ``fill``.
    """
    columns, rows = (range(max(0, at), min(side, at + crop)) for at, side in zip(corner, size, strict=True))
    down, right = rows.start - corner[1], columns.start - corner[0]
    y, x = _nearest(image.height, size[1], rows), _nearest(image.width, size[0], columns)
    part = resized_part(image, size, columns, rows), label[y[0] : y[-1] + 1].take(x, axis=1).take(y - y[0], axis=0)
    if (len(rows), len(columns)) == (crop, crop):
        return part
    window = slice(down, down + len(rows)), slice(right, right + len(columns))
    pixels, train_ids = np.zeros((crop, crop, 3), dtype=np.uint8), np.full((crop, crop), fill, dtype=np.uint8)
    pixels[window], train_ids[window] = part
    return pixels, train_ids


def _nearest(source: int, resized: int, shown: range) -> np.ndarray:
    """The nearest source pixel of each pixel that is shown of a resized axis."""
    return (2 * np.arange(shown.start, shown.stop) + 1) * source // (2 * resized)


def resized_part(image: Image.Image, size: tuple[int, int], columns: range, rows: range) -> np.ndarray:
    """The given columns and rows of the image resized to ``size`` (w, h), bicubic: h,w,3 uint8.

    torch's resize is faster than Pillow's, but starts and ends at borders of pixels.  So the result is shifted by less
    than ``CLOSE``.
    """
    left, right, width, x = _between_borders(image.width, size[0], columns)
    upper, lower, height, y = _between_borders(image.height, size[1], rows)
    pixels = torch.from_numpy(np.array(image.crop((left, upper, right, lower))))[None].permute(0, 3, 1, 2)
    resized = F.interpolate(pixels, (height, width), mode="bicubic", antialias=True)
    return resized.permute(0, 2, 3, 1)[0, y : y + len(rows), x : x + len(columns)].numpy()


def _between_borders(source: int, resized: int, shown: range) -> tuple[int, int, int, int]:
    """Begin and end of the source pixels to resize, the length of the result, and the place of ``shown`` in it."""
    ratio = source / resized
    reach = ceil(2 * max(1, 1 / ratio))  # of the bicubic kernel, in resized pixels
    before = np.arange(max(0, shown.start - reach), -1, -1)
    after = np.arange(min(resized, shown.stop + reach), resized + 1)
    first, last = (int(x[np.argmax(abs(x * ratio - np.round(x * ratio)) < CLOSE)]) for x in (before, after))
    return round(first * ratio), round(last * ratio), last - first, shown.start - first


def scale_crop_flip(
    image: Image.Image,
    label: np.ndarray,
    crop: int,
    rng: np.random.Generator,
    *,
    scale: tuple[float, float] = (0.5, 2.0),
    pad: bool = True,
    shorter: int = 0,
    place: tuple[int, int] | None = None,
) -> Pair:
    """A random crop of the randomly scaled pair, mirrored half of the time.

    With ``shorter``, the pair is first resized to that shorter side, in pixels.  Both axes have one factor.  An axis
    that is smaller than the crop is padded by (crop - size) // 2 + 1 on both sides, as published; with ``pad=False``
    the factor is raised until the crop fits.  All crops that show the pixel ``place`` (x, y), or all crops if it is
    None, are equally likely.
    """
    factor = rng.uniform(*scale)
    wide, high = image.size
    if shorter:
        wide, high = (max(shorter, int(side * shorter / min(image.size))) for side in image.size)
    width, height = max(1, int(wide * factor)), max(1, int(high * factor))
    if not pad:
        factor = max(factor, crop / wide, crop / high)
        width, height = max(crop, int(wide * factor)), max(crop, int(high * factor))
    x, y = (None, None) if place is None else place
    corner = _corner(image.width, width, crop, rng, shown=x), _corner(image.height, height, crop, rng, shown=y)
    pixels, label = cut(image, label, size=(width, height), corner=corner, crop=crop, fill=IGNORE)
    if rng.random() < 0.5:
        return opencv().flip(pixels, 1), opencv().flip(label, 1)
    return pixels, label


def _corner(source: int, size: int, crop: int, rng: np.random.Generator, *, shown: int | None) -> int:
    """Begin of a random window on an axis resized from ``source`` to ``size``; it shows the source pixel ``shown``."""
    margin = (crop - size) // 2 + 1 if size < crop else 0
    low, high = -margin, size + margin - crop
    if shown is not None:
        shown = (2 * shown + 1) * size // (2 * source)
        low, high = max(low, shown - crop + 1), min(high, shown)
    return low + int(rng.integers(high - low, endpoint=True))


def rotate(pixels: np.ndarray, label: np.ndarray, degrees: float, rng: np.random.Generator) -> Pair:
    """The pair rotated by U(-degrees, degrees) about its centre: corners are black, their label ignored."""
    angle = rng.uniform(-degrees, degrees)
    turned = Image.fromarray(label).rotate(angle, Resampling.NEAREST, fillcolor=IGNORE)
    return np.asarray(Image.fromarray(pixels).rotate(angle, Resampling.BICUBIC)), np.asarray(turned)


def jitter(
    pixels: np.ndarray, rng: np.random.Generator, strength: tuple[float, float, float, float] = NORMAL
) -> np.ndarray:
    """Random brightness, contrast, saturation and hue, in random order."""
    image = Image.fromarray(pixels)
    centres = (1.0, 1.0, 1.0, 0.0)
    amounts = [centre + rng.uniform(-width, width) for centre, width in zip(centres, strength, strict=True)]
    changes = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for index in rng.permutation(len(amounts)):
        amount = amounts[index]
        image = turn_hue(image, amount) if index == len(changes) else changes[index](image).enhance(amount)
    return np.asarray(image)


def turn_hue(image: Image.Image, amount: float) -> Image.Image:
    """The image with all hues moved by ``amount`` of the colour circle, which has 256 steps."""
    cv2 = opencv()
    hsv = cv2.cvtColor(np.asarray(image), cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(round(256 * amount) % 256)
    return Image.fromarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL))


def blur(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A Gaussian blur of 0.15 to 1.3 pixels: three small filters along each axis, which Pillow's consists of, too."""
    variance = (0.15 + 1.15 * rng.random()) ** 2 / 3  # of one filter
    weights = np.array([[variance / 2, 1 - variance, variance / 2]], np.float32)
    cv2 = opencv()
    for kernel in [weights] * 3 + [weights.T] * 3:
        pixels = cv2.filter2D(pixels, -1, kernel, borderType=cv2.BORDER_REPLICATE)
    return pixels


@dataclass(frozen=True)
class Augmentation(AugmentationOptions):
    """The training augmentation of one sample, as its options say.

    As published, half of the samples are jittered if ``color_aug`` is above 0, whatever its value.  ``bblur`` replaces
    ``gblur``, but not the Gaussian blur of strong jitter.
    """

    def __call__(
        self,
        image: Image.Image,
        label: np.ndarray,
        rng: np.random.Generator,
        hard: bool = False,
        *,
        place: tuple[int, int] | None = None,
    ) -> Pair:
        """The augmented pair; with ``hard`` it is always strongly jittered and blurred.

        The crop shows the pixel ``place`` (x, y), unless a rotation then turns it out of the crop.
        """
        options = {"scale": (self.scale_min, self.scale_max), "pad": self.pad, "shorter": self.pre_size}
        pixels, label = scale_crop_flip(image, label, self.crop_size, rng, place=place, **options)
        if self.rotate > 0:
            pixels, label = rotate(pixels, label, self.rotate, rng)
        if hard:
            return blur(jitter(pixels, rng, HARD), rng), label
        if self.color_aug > 0 and rng.random() < 0.5:
            pixels = jitter(pixels, rng, NORMAL)
        if self.bblur:
            pixels = bilateral(pixels, sigma=rng.uniform(0.05, 0.75))
        elif self.gblur:
            pixels = blur(pixels, rng)
        return pixels, label


def evaluation_geometry(
    image: Image.Image, label: np.ndarray, crop: int, *, pad_label: str = "ignore"
) -> tuple[Image.Image, np.ndarray]:
    """The pair resized to the height ``crop``, then its centre crop x crop, as Mapillary is scored.

    A portrait image is padded.  With 'ignore' it is centred and the padding is ignored.  With 'road', as published, the
    padding counts as road, and the padded canvas is cropped at the offset of the unpadded one, which loses the right
    part of the image.
    """
    width = int(image.width / image.height * crop)
    left, fill = round((width - crop) / 2), IGNORE
    if pad_label == "road":
        left, fill = left - max(0, crop - width), 0
    pixels, label = cut(image, label, size=(width, crop), corner=(left, 0), crop=crop, fill=fill)
    return Image.fromarray(pixels), label


def to_tensor(image: Image.Image | np.ndarray) -> Tensor:
    """An RGB image, or its pixels (H,W,3), as 3,H,W uint8."""
    pixels = np.asarray(image)
    planes = np.empty((3, *pixels.shape[:2]), np.uint8)
    opencv().split(pixels, list(planes))
    return torch.from_numpy(planes)


@dataclass(frozen=True)
class Pyramid:
    """The further sizes in which an image is evaluated."""

    scales: tuple[float, ...] = ()
    resample: Resampling = Resampling.BILINEAR

    def __call__(self, image: Image.Image) -> list[Tensor]:
        """The image at each scale, 3,h,w uint8."""
        sizes = [tuple(max(1, int(side * scale)) for side in image.size) for scale in self.scales]
        return [to_tensor(image.resize(size, self.resample)) for size in sizes]


def normalise(images: Tensor, *, image_in: bool = False) -> Tensor:
    """Images ...,3,H,W uint8 as float32, normalised by the mean and deviation of ImageNet.

    With ``image_in`` by their own, channel by channel: (x - mean) / sqrt(variance + 1e-5), x from 0 to 1.
    """
    if image_in:
        single = images.reshape(-1, *images.shape[-3:]).float().div_(255)
        return F.instance_norm(single, eps=1e-5).view(images.shape)
    mean, deviation = _statistics(images.device)
    return images.float().sub_(mean).div_(deviation)


@cache
def _statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and deviation on the scale of uint8, 3,1,1; copied to a device only once, because the copy makes it wait."""
    return tuple(255 * torch.tensor(x, device=device).view(3, 1, 1) for x in (IMAGENET_MEAN, IMAGENET_STD))
