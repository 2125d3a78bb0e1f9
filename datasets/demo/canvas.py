"""The drawing surface. A stroke paints its colour into the picture and its class into the labels."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from datasets.demo.styles import HOURS, RGB, Range, Style
from datasets.labels import CLASSES, IGNORE

SCALE = 2  # strokes are drawn at twice the final size, for smooth edges
HAZE_METRES = 60.0  # depth at which fog of density 1 leaves 1/e of a colour
_IDS = {**{name: train_id for train_id, name in enumerate(CLASSES)}, "void": IGNORE}
_TURNS = np.linspace(0, 2 * np.pi, 13)
CIRCLE = np.stack([np.cos(_TURNS), np.sin(_TURNS)], 1)
Points = Sequence[Sequence[float]] | np.ndarray


def tone(rng: np.random.Generator, hue: Range, saturation: Range, value: Range) -> RGB:
    """A random colour."""
    red, green, blue = colorsys.hsv_to_rgb(rng.uniform(*hue), rng.uniform(*saturation), rng.uniform(*value))
    return int(red * 255), int(green * 255), int(blue * 255)


def shade(colour: RGB, factor: float) -> RGB:
    """A darker or brighter colour."""
    red, green, blue = (min(255, int(level * factor)) for level in colour)
    return red, green, blue


class Canvas:
    """A picture and its labels, both under way, as one camera sees them in the light and the haze of one image.

    The camera is a pinhole over flat ground that looks along the street. Its unit in the image is a pixel.
    """

    def __init__(self, style: Style, rng: np.random.Generator, size: tuple[int, int], lane: float) -> None:
        """The camera is about ``lane`` metres right of the middle of the road."""
        self.style, self.rng = style, rng
        self.height, self.width = (SCALE * side for side in size)
        self.focal, self.horizon = rng.uniform(*style.focal) * self.width, rng.uniform(*style.horizon) * self.height
        self.elevation, self.offset = rng.uniform(*style.elevation), lane + rng.normal(0, 0.5)
        self.bend = rng.uniform(-0.003, 0.003)  # the street at Z metres lies bend * Z^2 metres farther right
        self.hour = HOURS[rng.choice(len(HOURS), p=np.array(style.hours) / sum(style.hours))]
        self.fog = rng.uniform(*style.fog)
        self.depth = 0.0  # of the next strokes, in metres
        self.picture = Image.new("RGB", (self.width, self.height))
        self.labels = Image.new("L", self.picture.size, _IDS["sky"])
        self._brush, self._pen = ImageDraw.Draw(self.picture), ImageDraw.Draw(self.labels)
        self.ground = Plane(self, (0, 0, 0), (1, 0, 0), (0, 0, 1))

    def project(self, points: Points) -> np.ndarray:
        """Metres (right, up, ahead) to pixels (x, y): (..., 3) -> (..., 2)."""
        points = np.asarray(points, dtype=np.float64)
        ahead = np.maximum(points[..., 2], 0.5)
        scale, pixels = self.focal / ahead, np.empty((*ahead.shape, 2))
        pixels[..., 0] = self.width / 2 + scale * (points[..., 0] - self.offset + self.bend * ahead**2)
        pixels[..., 1] = self.horizon + scale * (self.elevation - points[..., 1])
        return pixels

    def polygon(self, pixels: np.ndarray, colour: RGB | None, name: str | None = None) -> None:
        """Fill a polygon (N,2). Without a colour only its class changes, without a class only its colour."""
        corners = pixels.ravel().tolist()
        if colour is not None:
            self._brush.polygon(corners, fill=self._seen(colour))
        if name is not None:
            self._pen.polygon(corners, fill=_IDS[name])

    def line(self, pixels: np.ndarray, colour: RGB, width: float, name: str | None = None) -> None:
        corners, thickness = pixels.ravel().tolist(), max(1, round(width))
        self._brush.line(corners, fill=self._seen(colour), width=thickness)
        if name is not None:
            self._pen.line(corners, fill=_IDS[name], width=thickness)

    def lamp(self, colour: RGB) -> RGB:
        """A colour that looks the same at every hour, because it shines by itself."""
        red, green, blue = (round(level / gain) for level, gain in zip(colour, self.hour.gain, strict=True))
        return red, green, blue

    def _seen(self, colour: RGB) -> RGB:
        """A colour in the light of the hour, through the haze up to its depth."""
        clear = math.exp(-self.fog * self.depth / HAZE_METRES)
        levels = zip(colour, self.hour.gain, self.hour.haze, strict=True)
        red, green, blue = (min(255, int(haze + (level * gain - haze) * clear)) for level, gain, haze in levels)
        return red, green, blue


class Plane:
    """A flat surface in the world, painted in its own coordinates (along, up) from its origin."""

    def __init__(self, canvas: Canvas, origin: Points, along: Points, up: Points) -> None:
        self.canvas, self.rng = canvas, canvas.rng
        self.origin, self.axes = np.asarray(origin, dtype=np.float64), np.array([along, up], dtype=np.float64)
        self.unit = canvas.focal / max(float(self.origin[2]), 0.5)  # pixels per metre at the origin

    def pixels(self, points: Points) -> np.ndarray:
        """Own coordinates to pixels: (..., 2) -> (..., 2)."""
        return self.canvas.project(self.origin + np.asarray(points) @ self.axes)

    def polygon(self, points: Points, colour: RGB | None, name: str | None = None) -> None:
        self.canvas.polygon(self.pixels(points), colour, name)

    def box(self, corners: Sequence[float], colour: RGB | None, name: str | None = None) -> None:
        """Fill a rectangle (left, low, right, high)."""
        left, low, right, high = corners
        self.polygon([(left, low), (left, high), (right, high), (right, low)], colour, name)

    def disc(self, centre: Sequence[float], radius: float, colour: RGB | None, name: str | None = None) -> None:
        self.polygon(CIRCLE * radius + centre, colour, name)

    def line(self, points: Points, colour: RGB, width: float, name: str | None = None) -> None:
        """A line of a width in metres."""
        self.canvas.line(self.pixels(points), colour, width * self.unit, name)
