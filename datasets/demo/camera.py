"""The camera: shapes paint a colour into its picture and a class into its labels; then it photographs them."""

import colorsys
import math
from functools import cache

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter
from scipy.ndimage import gaussian_filter

from datasets.demo.styles import HOURS, RGB, Range, Style
from datasets.labels import CLASSES, IGNORE

_HAZE_METRES = 60.0  # depth at which fog of density 1 leaves 1/e of a colour
_SCALE = 2  # shapes are drawn at twice the final size, for smooth edges
_IDS = {**{name: train_id for train_id, name in enumerate(CLASSES)}, "void": IGNORE}
CIRCLE = np.array([(np.cos(turn), np.sin(turn)) for turn in np.linspace(0, 2 * np.pi, 13)])
_TILE = 256  # pixels, side of the periodic textures
_TEXTURES = {  # class -> height and width of its blobs in pixels, and their strength
    "road": (0.5, 3, 0.08),
    "sidewalk": (0.6, 6, 0.07),
    "building": (8, 8, 0.09),
    "wall": (0.6, 8, 0.13),
    "vegetation": (1.6, 1.6, 0.28),
    "terrain": (1.6, 0.6, 0.16),
    "sky": (7, 18, 0.1),
}


def tone(rng: np.random.Generator, hue: Range, saturation: Range, value: Range) -> RGB:
    """A random colour."""
    levels = colorsys.hsv_to_rgb(rng.uniform(*hue), rng.uniform(*saturation), rng.uniform(*value))
    return tuple(int(level * 255) for level in levels)


def shade(colour: RGB, factor: float) -> RGB:
    """A darker or brighter colour."""
    return tuple(int(level * factor) for level in colour)


class Camera:
    """A pinhole over flat ground that looks along the street, in the light and the haze of one image."""

    def __init__(self, style: Style, rng: np.random.Generator, size: tuple[int, int], lane: float) -> None:
        """The camera is about ``lane`` metres right of the middle of the road; ``size`` is height and width."""
        self.style, self.rng = style, rng
        self.height, self.width = (_SCALE * side for side in size)
        self.focal, self.horizon = rng.uniform(0.55, 0.75) * self.width, rng.uniform(*style.horizon) * self.height
        self.elevation, self.offset = rng.uniform(*style.elevation), lane + rng.normal(0, 0.5)
        self.bend = rng.uniform(-0.003, 0.003)  # the street at Z metres lies bend * Z^2 metres farther right
        self.gain, self.zenith, self.haze = HOURS[rng.choice(len(HOURS), p=style.hours)]
        self.fog = rng.uniform(*style.fog)
        self.depth = 0.0  # of the next shapes, in metres
        self.picture = Image.new("RGB", (self.width, self.height))
        self.labels = Image.new("L", self.picture.size, _IDS["sky"])
        self.brush, self.pen = ImageDraw.Draw(self.picture), ImageDraw.Draw(self.labels)

    def project(self, points: ArrayLike) -> np.ndarray:
        """Metres (right, up, ahead) to pixels (x, y): (N,3) -> (N,2), or one point."""
        points = np.asarray(points, dtype=np.float64)
        ahead = np.maximum(points[..., 2], 0.5)
        right, up = points[..., 0] - self.offset + self.bend * ahead**2, points[..., 1] - self.elevation
        return np.array([self.width / 2 + self.focal * right / ahead, self.horizon - self.focal * up / ahead]).T

    def polygon(self, pixels: np.ndarray, colour: RGB | None, name: str | None = None) -> None:
        """Fill a polygon (N,2). Without a colour only its class changes, without a class only its colour."""
        corners = pixels.ravel().tolist()
        if colour is not None:
            self.brush.polygon(corners, fill=self.seen(colour))
        if name is not None:
            self.pen.polygon(corners, fill=_IDS[name])

    def seen(self, colour: RGB) -> RGB:
        """A colour in the light of the hour, through the haze up to its depth. Lamps have levels above 255."""
        clear = math.exp(-self.fog * self.depth / _HAZE_METRES)
        levels = zip(colour, self.gain, self.haze, strict=True)
        return tuple(min(255, int(haze + (level * gain - haze) * clear)) for level, gain, haze in levels)


class Plane:
    """A flat surface in the world, painted in its own coordinates (along, up) from its origin."""

    def __init__(self, camera: Camera, origin: ArrayLike, along: ArrayLike, up: ArrayLike = (0, 1, 0)) -> None:
        self.camera, self.rng = camera, camera.rng
        self.origin, self.axes = np.asarray(origin, dtype=np.float64), np.array([along, up], dtype=np.float64)

    def pixels(self, points: ArrayLike) -> np.ndarray:
        """Own coordinates to pixels: (N,2) -> (N,2)."""
        return self.camera.project(self.origin + np.asarray(points) @ self.axes)

    def polygon(self, points: ArrayLike, colour: RGB | None, name: str | None = None) -> None:
        self.camera.polygon(self.pixels(points), colour, name)

    def box(self, corners: tuple[float, float, float, float], colour: RGB | None, name: str | None = None) -> None:
        """Fill a rectangle (left, low, right, high)."""
        left, low, right, high = corners
        self.polygon([(left, low), (left, high), (right, high), (right, low)], colour, name)

    def disc(self, centre: tuple[float, float], radius: float, colour: RGB | None, name: str | None = None) -> None:
        self.polygon(CIRCLE * radius + centre, colour, name)

    def line(self, points: ArrayLike, width: float, colour: RGB, name: str | None = None) -> None:
        """A line of a width in metres."""
        camera, corners = self.camera, self.pixels(points).ravel().tolist()
        thickness = max(1, round(width * camera.focal / camera.depth))
        camera.brush.line(corners, fill=camera.seen(colour), width=thickness)
        if name is not None:
            camera.pen.line(corners, fill=_IDS[name], width=thickness)


def photograph(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """The image H,W,3 uint8, with texture, blur and noise, and its train ids H,W uint8 (255 = ignore)."""
    style, rng = camera.style, camera.rng
    labels = np.asarray(camera.labels)[::_SCALE, ::_SCALE].copy()
    image = np.asarray(camera.picture.reduce(_SCALE), dtype=np.float32)
    rows, columns = ((np.arange(side) + rng.integers(_TILE)) % _TILE for side in labels.shape)
    image *= 1 + style.texture * _textures()[np.minimum(labels, len(CLASSES)), rows[:, None], columns, None]
    picture = Image.fromarray((image * np.float32(style.tint)).clip(0, 255).astype(np.uint8))
    picture = ImageEnhance.Color(picture).enhance(style.saturation * rng.uniform(0.85, 1.15))
    picture = ImageEnhance.Contrast(picture).enhance(style.contrast * rng.uniform(0.85, 1.15))
    picture = picture.filter(ImageFilter.BoxBlur(rng.uniform(0, style.blur)))
    noise = style.noise * rng.uniform(0.6, 1.4) * rng.standard_normal((*labels.shape, 1), dtype=np.float32)
    return (np.asarray(picture) + noise).clip(0, 255).astype(np.uint8), labels


@cache
def _textures() -> np.ndarray:
    """Periodic noise around 0, from a fixed seed, for each class and for void: 20,256,256 float32."""
    rng, textures = np.random.default_rng(0), np.zeros((len(CLASSES) + 1, _TILE, _TILE), dtype=np.float32)
    for name, (height, width, strength) in _TEXTURES.items():
        blobs = gaussian_filter(rng.standard_normal((_TILE, _TILE)), (height, width), mode="wrap")
        textures[_IDS[name]] = strength * blobs / blobs.std()
    return textures
