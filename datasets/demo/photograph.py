"""From the finished drawing to a camera's picture: texture, colours, rain, blur and noise."""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from datasets.demo.canvas import SCALE, Canvas
from datasets.demo.styles import Style
from datasets.labels import CLASSES

_TILE = 256
# Strength of each kind of noise: pixels, small, medium, large, wide and upright blobs, clouds
_STRENGTHS = {
    "road": (0.06, 0, 0, 0, 0.05, 0, 0),
    "sidewalk": (0.03, 0, 0, 0.03, 0.06, 0, 0),
    "building": (0.03, 0, 0.05, 0.07, 0, 0, 0),
    "wall": (0.02, 0, 0, 0.05, 0.12, 0, 0),
    "vegetation": (0, 0.2, 0.17, 0.1, 0, 0, 0),
    "terrain": (0, 0, 0.06, 0.06, 0, 0.14, 0),
    "sky": (0, 0, 0, 0, 0, 0, 0.1),
}
_SIZES = ((0.3, 0.3), (1.2, 1.2), (3, 3), (12, 12), (0.6, 8), (1.6, 0.6), (7, 18))  # height and width in pixels


@cache
def _textures() -> np.ndarray:
    """Periodic noise around 0, from a fixed seed, for each class and for void: 20,256,256."""
    rng, blobs = np.random.default_rng(0), []
    for size in _SIZES:
        falloff = [np.exp(-2 * (np.pi * length * np.fft.fftfreq(_TILE)) ** 2) for length in size]
        smooth = np.fft.ifft2(np.fft.fft2(rng.standard_normal((_TILE, _TILE))) * np.outer(*falloff)).real
        blobs.append(smooth / smooth.std())
    strengths = np.array([_STRENGTHS.get(name, (0,) * len(blobs)) for name in (*CLASSES, "void")])
    return np.tensordot(strengths, np.stack(blobs), 1).astype(np.float32)


def photograph(canvas: Canvas) -> tuple[np.ndarray, np.ndarray]:
    """The image H,W,3 uint8 and its train ids H,W uint8 (255 = ignore)."""
    style, rng = canvas.style, canvas.rng
    labels = np.asarray(canvas.labels)[::SCALE, ::SCALE].copy()
    image = np.asarray(canvas.picture.reduce(SCALE), dtype=np.float32)
    zoom = style.zoom * rng.uniform(0.8, 1.25)
    rows, columns = ((np.arange(side) / zoom + rng.integers(_TILE)).astype(int) % _TILE for side in labels.shape)
    texture = _textures()[np.minimum(labels, len(CLASSES)), rows[:, None], columns]
    image *= 1 + style.texture * texture[..., None]
    picture = Image.fromarray(_colours(image, style, rng).clip(0, 255).astype(np.uint8))
    if rng.random() < style.rain:
        _paint_rain(picture, rng)
    picture = picture.filter(ImageFilter.BoxBlur(rng.uniform(*style.blur)))
    noise = style.noise * rng.uniform(0.6, 1.4) * rng.standard_normal((*labels.shape, 1), dtype=np.float32)
    return (np.asarray(picture) + noise).clip(0, 255).astype(np.uint8), labels


def _colours(image: np.ndarray, style: Style, rng: np.random.Generator) -> np.ndarray:
    """The image with the saturation, tint and contrast of a camera."""
    saturation = style.saturation * rng.uniform(0.85, 1.15)
    grey = np.array([[0.299], [0.587], [0.114]])
    mix = (saturation * np.eye(3) + (1 - saturation) * grey) * style.tint * rng.uniform(0.95, 1.05, 3)
    contrast = rng.uniform(*style.contrast)
    image = image @ mix.astype(np.float32)
    mean = image.mean()
    return mean + (image - mean) * np.float32(contrast)


def _paint_rain(picture: Image.Image, rng: np.random.Generator) -> None:
    streaks = Image.new("L", picture.size)
    pen, slant, (width, height) = ImageDraw.Draw(streaks), rng.uniform(-0.25, 0.25), picture.size
    for x, y, length in rng.uniform(0, (width, height, 0.09 * height), (260, 3)).tolist():
        pen.line((x, y, x + slant * length, y + length), fill=70)
    picture.paste((205, 210, 220), mask=streaks)
