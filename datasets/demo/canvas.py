"""The drawing surface: a camera over a flat street, and planes to paint colour and class on at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from datasets.demo.styles import Mood, Style
from datasets.demo.textures import RGB, SMOOTH
from datasets.labels import CLASSES, IGNORE

SUPERSAMPLING = 2
HAZE_METRES = 60.0  # the depth at which the stored clearness has fallen to 1/e
_TURNS = np.linspace(0, 2 * np.pi, 13)
_CIRCLE = np.stack([np.cos(_TURNS), np.sin(_TURNS)], 1)
Points = Sequence[Sequence[float]] | np.ndarray


class Surface(NamedTuple):
    """What a stroke is: its class and its material."""

    label: int
    material: int = SMOOTH


def surface(name: str, material: int = SMOOTH) -> Surface:
    return Surface(CLASSES.index(name), material)


VOID = Surface(IGNORE)


class Camera(NamedTuple):
    """A pinhole over flat ground that looks along the street; `bend` curves the street, X' = X + bend * Z^2."""

    height: int
    width: int
    focal: float
    horizon: float
    elevation: float
    offset: float
    bend: float

    def project(self, points: Points) -> np.ndarray:
        """Metres (right, up, ahead) to pixels: (..., 3) -> (..., 2)."""
        points = np.asarray(points, dtype=np.float64)
        ahead = np.maximum(points[..., 2], 0.5)
        scale = self.focal / ahead
        pixels = np.empty((*points.shape[:-1], 2))
        pixels[..., 0] = self.width / 2 + scale * (points[..., 0] - self.offset + self.bend * ahead**2)
        pixels[..., 1] = self.horizon + scale * (self.elevation - points[..., 1])
        return pixels


class Canvas:
    """A picture in the making and its facts (class, material, clearness of the air), at twice the final size."""

    def __init__(self, camera: Camera, style: Style, mood: Mood, rng: np.random.Generator) -> None:
        self.camera, self.style, self.mood, self.rng = camera, style, mood, rng
        self.depth = 0.0  # of what is being painted, in metres
        self.colour = Image.new("RGB", (camera.width, camera.height))
        self.facts = Image.new("RGB", self.colour.size)
        self._brush, self._notes = ImageDraw.Draw(self.colour), ImageDraw.Draw(self.facts)
        self.ground = Plane(self, (0, 0, 0), (1, 0, 0), (0, 0, 1))

    def polygon(self, pixels: np.ndarray, colour: RGB | None, surface: Surface | None = None) -> None:
        """Fill a polygon (N,2); without a colour only its facts change, without a surface only its colour."""
        flat = pixels.ravel().tolist()
        if colour is not None:
            self._brush.polygon(flat, fill=colour)
        if surface is not None:
            self._notes.polygon(flat, fill=self._fact(surface))

    def line(self, pixels: np.ndarray, colour: RGB, width: float, surface: Surface | None = None) -> None:
        flat, thickness = pixels.ravel().tolist(), max(1, round(width))
        self._brush.line(flat, fill=colour, width=thickness)
        if surface is not None:
            self._notes.line(flat, fill=self._fact(surface), width=thickness)

    def stand(self, right: float, ahead: float) -> Plane:
        """An upright plane that faces the camera, in metres from its foot."""
        return Plane(self, (right, 0, ahead), (1, 0, 0), (0, 1, 0))

    def darken(self, shadows: np.ndarray, strength: float) -> None:
        """Darken what has been drawn so far inside soft polygons (N,4,2) in pixels."""
        width, height = self.colour.size
        top = int(self.camera.horizon)  # shadows lie on the ground
        mask = Image.new("L", (width // 4, (height - top) // 4))
        pen = ImageDraw.Draw(mask)
        for flat in ((shadows - (0, top)).reshape(-1, 8) / 4).tolist():
            pen.polygon(flat, fill=int(255 * strength))
        mask = mask.filter(ImageFilter.BoxBlur(0.7)).resize((width, height - top), Image.Resampling.BILINEAR)
        self.colour.paste((8, 10, 16), (0, top), mask)

    def _fact(self, surface: Surface) -> RGB:
        return surface.label, surface.material, int(255 * np.exp(-self.depth / HAZE_METRES))


class Plane:
    """A flat thing in the world, painted in its own two coordinates (along, up) from its origin."""

    def __init__(self, canvas: Canvas, origin: Points, along: Points, up: Points) -> None:
        self.canvas, self.rng = canvas, canvas.rng
        self.origin, self.axes = np.asarray(origin, dtype=np.float64), np.array([along, up], dtype=np.float64)
        self.unit = canvas.camera.focal / max(float(self.origin[2]), 0.5)  # pixels per metre at the origin

    def turn(self, part: float) -> None:
        """Foreshorten to a part of the length; a negative part mirrors."""
        self.axes[0] *= part

    def pixels(self, points: Points) -> np.ndarray:
        """Own coordinates to pixels: (..., 2) -> (..., 2)."""
        return self.canvas.camera.project(self.origin + np.asarray(points) @ self.axes)

    def polygon(self, points: Points, colour: RGB | None, surface: Surface | None = None) -> None:
        self.canvas.polygon(self.pixels(points), colour, surface)

    def box(self, corners: Sequence[float], colour: RGB | None, surface: Surface | None = None) -> None:
        """Fill a rectangle (left, low, right, high)."""
        left, low, right, high = corners
        self.polygon([(left, low), (left, high), (right, high), (right, low)], colour, surface)

    def disc(self, at: Sequence[float], radius: float, colour: RGB | None, surface: Surface | None = None) -> None:
        self.polygon(_CIRCLE * radius + at, colour, surface)

    def ring(self, at: Sequence[float], radius: float, colour: RGB, width: float) -> None:
        self.limb(_CIRCLE * radius + at, colour, width)

    def limb(self, points: Points, colour: RGB, width: float, surface: Surface | None = None) -> None:
        """A line of a width in metres."""
        self.canvas.line(self.pixels(points), colour, width * self.unit, surface)
