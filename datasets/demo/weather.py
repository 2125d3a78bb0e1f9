"""What happens between the street and the picture: texture, haze, lamps, rain, lens and sensor."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from datasets.demo.canvas import SUPERSAMPLING, Canvas
from datasets.demo.styles import Mood, Style
from datasets.demo.textures import GLOW, bank, grain, place


def develop(canvas: Canvas) -> tuple[np.ndarray, np.ndarray]:
    """The finished picture H,W,3 uint8 and its train ids H,W uint8."""
    style, mood, rng = canvas.style, canvas.mood, canvas.rng
    facts = np.asarray(canvas.facts)[::SUPERSAMPLING, ::SUPERSAMPLING]
    label, material, clear = facts[..., 0], facts[..., 1], facts[..., 2]
    image = np.asarray(canvas.colour.reduce(SUPERSAMPLING)).astype(np.float32)
    rows, columns = place(rng, *label.shape, style.zoom * rng.uniform(0.8, 1.25))
    image *= 1 + style.texture * bank()[material, rows, columns][..., None]
    image = _lens(_veil(_light(image, material == GLOW, mood), clear, mood), style, rng)
    picture = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))
    if mood.rain:
        picture = _rain(picture, rng)
    picture = picture.filter(ImageFilter.BoxBlur(rng.uniform(*style.blur)))
    noise = grain()[place(rng, *label.shape)] * np.float32(style.noise * rng.uniform(0.6, 1.4))
    return np.clip(np.asarray(picture) + noise[..., None], 0, 255).astype(np.uint8), label.copy()


def _light(image: np.ndarray, shines: np.ndarray, mood: Mood) -> np.ndarray:
    """The gain of the hour on all that does not shine by itself; headlamps brighten the road at night."""
    gain = np.array(mood.hour.gain, np.float32)
    if mood.hour.night:
        height, width = shines.shape
        down = (np.arange(height, dtype=np.float32) / height - 0.75) / 0.22
        across = (np.arange(width, dtype=np.float32) / width - 0.5) / 0.3
        gain = gain + 0.45 * np.exp(-(down[:, None] ** 2) - across**2)[..., None]
    return np.where(shines[..., None], image, image * gain)


def _veil(image: np.ndarray, clear: np.ndarray, mood: Mood) -> np.ndarray:
    """Haze of the horizon's colour, thicker with depth."""
    levels = np.maximum(np.arange(256, dtype=np.float32), 1) / 255
    passed = (levels**mood.fog)[clear][..., None]
    haze = np.array(mood.hour.sky_low, np.float32) * np.float32(0.95)
    return haze + (image - haze) * passed


def _lens(image: np.ndarray, style: Style, rng: np.random.Generator) -> np.ndarray:
    """Colour cast, saturation, contrast, gamma and darker corners."""
    saturation = style.saturation * rng.uniform(0.85, 1.15)
    grey = np.array([0.299, 0.587, 0.114])
    mix = saturation * np.eye(3) + (1 - saturation) * grey[:, None]
    mix = (mix * np.array(style.tint) * rng.uniform(0.95, 1.05, 3)).astype(np.float32)
    image = image @ mix
    contrast, gamma = rng.uniform(*style.contrast), rng.uniform(*style.gamma)
    curve = np.linspace(0, 1, 1024) ** gamma
    curve = (255 * (0.5 + (curve - 0.5) * contrast)).astype(np.float32)
    image = curve[np.clip(image * (1023 / 255), 0, 1023).astype(np.int16)]
    down, across = (np.linspace(-1, 1, side, dtype=np.float32) ** 2 for side in image.shape[:2])
    return image * (1 - np.float32(style.vignette / 2) * (down[:, None] + across))[..., None]


def _rain(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    streaks = Image.new("L", picture.size)
    pen = ImageDraw.Draw(streaks)
    slant, width, height = rng.uniform(-0.25, 0.25), *picture.size
    for x, y, length in zip(*(rng.uniform(0, size, 260) for size in (width, height, height * 0.09)), strict=True):
        pen.line((x, y, x + slant * length, y + length), fill=70)
    return Image.composite(Image.new("RGB", picture.size, (205, 210, 220)), picture, streaks)
