"""Augmentation of an image together with its label, and the geometry of evaluation.

Images are Pillow RGB, labels H,W uint8 train ids.  Everything random is drawn from the generator that is passed in.
Distributions and order are the published ones: scale, pad, crop, flip, (rotate), colour jitter, blur.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter
from PIL.Image import Resampling, Transpose
from torch import Tensor
from torchvision.transforms.v2 import functional

from datasets.bilateral import bilateral
from datasets.labels import IGNORE
from datasets.options import AugmentationOptions

Pair = tuple[Image.Image, np.ndarray]

# Brightness, contrast, saturation, hue.
NORMAL = (0.4, 0.4, 0.4, 0.1)
HARD = (0.8, 0.8, 0.8, 0.3)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def cut(
    image: Image.Image, label: np.ndarray, *, size: tuple[int, int], corner: tuple[int, int], crop: int, fill: int
) -> Pair:
    """The window crop x crop at ``corner`` (x, y) of the pair resized to ``size`` (w, h), without resizing the rest.

    Bicubic for the image, nearest for the label.  A window may reach beyond the resized pair: there the image is black
    and the label ``fill``.
    """
    columns, (left, right), x = _kept(image.width, size[0], corner[0], crop)
    rows, (upper, lower), y = _kept(image.height, size[1], corner[1], crop)
    canvas = Image.new("RGB", (crop, crop))
    part = image.resize((len(x), len(y)), Resampling.BICUBIC, box=(left, upper, right, lower))
    canvas.paste(part, (columns.start, rows.start))
    train_ids = np.full((crop, crop), fill, dtype=np.uint8)
    train_ids[rows, columns] = label[y][:, x]
    return canvas, train_ids


def _kept(source: int, resized: int, corner: int, window: int) -> tuple[slice, tuple[float, float], np.ndarray]:
    """The part of one axis of a resized picture that a window shows.

    Its place in the window, its begin and end in source coordinates, and the nearest source pixel of each pixel.
    """
    start, stop = max(0, corner), min(resized, corner + window)
    ratio = source / resized
    nearest = (2 * np.arange(start, stop) + 1) * source // (2 * resized)
    return slice(start - corner, stop - corner), (start * ratio, min(stop * ratio, source)), nearest


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
    wide, high = _with_shorter_side(image.size, shorter) if shorter else image.size
    width, height = max(1, int(wide * factor)), max(1, int(high * factor))
    if not pad:
        factor = max(factor, crop / wide, crop / high)
        width, height = max(crop, int(wide * factor)), max(crop, int(high * factor))
    x, y = (None, None) if place is None else place
    corner = _corner(image.width, width, crop, rng, shown=x), _corner(image.height, height, crop, rng, shown=y)
    image, label = cut(image, label, size=(width, height), corner=corner, crop=crop, fill=IGNORE)
    if rng.random() < 0.5:
        image, label = image.transpose(Transpose.FLIP_LEFT_RIGHT), label[:, ::-1]
    return image, label


def _with_shorter_side(size: tuple[int, int], side: int) -> tuple[int, int]:
    shorter, longer = sorted(size)
    longer = max(side, int(longer * side / shorter))
    return (side, longer) if size[0] < size[1] else (longer, side)


def _corner(source: int, size: int, crop: int, rng: np.random.Generator, *, shown: int | None) -> int:
    """Begin of a random window on an axis resized from ``source`` to ``size``; it shows the source pixel ``shown``."""
    margin = (crop - size) // 2 + 1 if size < crop else 0
    low, high = -margin, size + margin - crop
    if shown is not None:
        shown = (2 * shown + 1) * size // (2 * source)
        low, high = max(low, shown - crop + 1), min(high, shown)
    return low + int(rng.integers(high - low, endpoint=True))


def rotate(image: Image.Image, label: np.ndarray, degrees: float, rng: np.random.Generator) -> Pair:
    """The pair rotated by U(-degrees, degrees) about its centre: corners are black, their label ignored."""
    angle = rng.uniform(-degrees, degrees)
    turned = Image.fromarray(label).rotate(angle, Resampling.NEAREST, fillcolor=IGNORE)
    return image.rotate(angle, Resampling.BICUBIC), np.asarray(turned)


def jitter(
    image: Image.Image, rng: np.random.Generator, strength: tuple[float, float, float, float] = NORMAL
) -> Image.Image:
    """Random brightness, contrast, saturation and hue, in random order."""
    names, centres = ("brightness", "contrast", "saturation", "hue"), (1.0, 1.0, 1.0, 0.0)
    amounts = [centre + rng.uniform(-width, width) for centre, width in zip(centres, strength, strict=True)]
    for index in rng.permutation(len(names)):
        adjust = getattr(functional, f"adjust_{names[index]}")
        image = adjust(image, amounts[index])
    return image


def blur(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A Gaussian blur of 0.15 to 1.3 pixels."""
    return image.filter(ImageFilter.GaussianBlur(0.15 + 1.15 * rng.random()))


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
        image, label = scale_crop_flip(image, label, self.crop_size, rng, place=place, **options)
        if self.rotate > 0:
            image, label = rotate(image, label, self.rotate, rng)
        if hard:
            return blur(jitter(image, rng, HARD), rng), label
        if self.color_aug > 0 and rng.random() < 0.5:
            image = jitter(image, rng, NORMAL)
        if self.bblur:
            image = Image.fromarray(bilateral(np.asarray(image), sigma=rng.uniform(0.05, 0.75)))
        elif self.gblur:
            image = blur(image, rng)
        return image, label


def evaluation_geometry(image: Image.Image, label: np.ndarray, crop: int, *, pad_label: str = "ignore") -> Pair:
    """The pair resized to the height ``crop``, then its centre crop x crop, as Mapillary is scored.

    A portrait image is padded.  With 'ignore' it is centred and the padding is ignored.  With 'road', as published, the
    padding counts as road, and the padded canvas is cropped at the offset of the unpadded one, which loses the right
    part of the image.
    """
    width = int(image.width / image.height * crop)
    left, fill = round((width - crop) / 2), IGNORE
    if pad_label == "road":
        left, fill = left - max(0, crop - width), 0
    return cut(image, label, size=(width, crop), corner=(left, 0), crop=crop, fill=fill)


def to_tensor(image: Image.Image) -> Tensor:
    """An RGB image as 3,H,W uint8."""
    return torch.from_numpy(np.stack([np.asarray(channel) for channel in image.split()]))


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
