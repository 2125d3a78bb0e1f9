"""Cars, trucks, buses and trains: side views that are extruded to solid bodies, at any angle to the camera."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from datasets.demo.canvas import CIRCLE, Canvas, Plane, shade, tone
from datasets.demo.styles import RGB

DARK, GLASS = (26, 26, 30), (38, 46, 56)
_SEDAN = ((0, 0.17), (0, 0.6), (0.13, 0.66), (0.24, 1), (0.58, 1), (0.74, 0.63), (0.99, 0.52), (1, 0.17))
_HATCH = ((0, 0.17), (0, 0.6), (0.07, 0.95), (0.2, 1), (0.55, 1), (0.76, 0.62), (0.98, 0.5), (1, 0.17))
_TRUCK = ((0, 0.28), (0, 1), (0.7, 1), (0.72, 0.76), (0.93, 0.76), (0.99, 0.42), (1, 0.1))
_BUS = ((0, 0.12), (0, 0.5), (0.01, 0.9), (0.02, 1), (0.98, 1), (0.99, 0.9), (1, 0.45), (1, 0.12))
_TRAM = ((0, 0.08), (0, 0.5), (0.02, 0.85), (0.03, 1), (0.97, 1), (0.98, 0.85), (1, 0.5), (1, 0.08))


class Body(NamedTuple):
    """The form of a vehicle. All but the first three are in parts of the length and the height."""

    length: float  # metres, as the next two
    width: float
    height: float
    outline: tuple[tuple[float, float], ...]  # side view from the tail over the roof to the nose
    glass: tuple[int, ...]  # edges of the outline that are windows: of the rear and of the front
    windows: tuple[int, float, float, float, float]  # of a side: number, left, low, right, high
    wheels: tuple[float, ...]


VEHICLES = {
    "car": (
        Body(4.5, 1.8, 1.45, _SEDAN, (2, 4), (2, 0.24, 0.64, 0.64, 0.93), (0.19, 0.81)),
        Body(4.2, 1.75, 1.55, _HATCH, (1, 4), (2, 0.12, 0.63, 0.62, 0.93), (0.18, 0.81)),
    ),
    "truck": (Body(8.0, 2.4, 3.4, _TRUCK, (4,), (1, 0.8, 0.44, 0.92, 0.7), (0.1, 0.24, 0.86)),),
    "bus": (Body(11.0, 2.5, 3.1, _BUS, (1, 5), (7, 0.03, 0.5, 0.97, 0.86), (0.2, 0.8)),),
    "train": (Body(22.0, 2.6, 3.6, _TRAM, (1, 5), (16, 0.03, 0.48, 0.97, 0.8), ()),),
}


class Vehicle:
    """A vehicle in its place. Its own coordinates are 0..1 along the length, -1..1 across and 0..1 up."""

    def __init__(self, canvas: Canvas, name: str, right: float, ahead: float, yaw: float) -> None:
        """Its middle is in metres; its nose points ``yaw`` radians left of straight ahead."""
        self.canvas, self.name = canvas, name
        self.body = body = VEHICLES[name][canvas.rng.integers(len(VEHICLES[name]))]
        along = np.array([-np.sin(yaw), 0, np.cos(yaw)]) * body.length
        across = np.array([np.cos(yaw), 0, np.sin(yaw)]) * body.width / 2
        self.axes = np.array([along, across, (0, body.height, 0)])
        self.tail = np.array([right, 0, ahead]) - along / 2
        to_camera = np.array([canvas.offset - right - canvas.bend * ahead**2, 0, -ahead])
        nearer, self.comes = np.sign(to_camera @ across), bool(to_camera @ along > 0)
        self.side = Plane(canvas, self.tail + nearer * across, along, self.axes[2])
        self.end = Plane(canvas, self.tail + self.comes * along, across, self.axes[2])
        self.shows_end = abs(to_camera @ along) > body.length**2 / 2

    def paint(self) -> None:
        """The shadow below it, then all that is in view."""
        rng = self.canvas.rng
        colour = tone(rng, (0, 1), (0, rng.choice((0.1, 0.85))), (0.15, 0.95))
        base = self.tail + np.array([(0, -1.2), (0, 1.2), (1, 1.2), (1, -1.2)]) @ self.axes[:2]
        self.canvas.polygon(self.canvas.project(base), shade((90, 90, 94), 1 - self.canvas.hour.shadow))
        self._paint_faces(colour)
        self.side.box((0, 0.36, 1, 0.42), shade(colour, 0.6))
        self._paint_windows_and_wheels()
        if self.shows_end:
            self.end.box((-1, 0.36, 1, 0.42), shade(colour, 0.6))
            self._paint_lamps()

    def _paint_faces(self, colour: RGB) -> None:
        """The two sides and a face for each edge of the outline, the farthest first."""
        count = len(self.body.outline)
        corners = self.tail + np.array([(x, side, y) for side in (-1, 1) for x, y in self.body.outline]) @ self.axes
        pixels = self.canvas.project(corners)
        faces = [[edge, (edge + 1) % count, count + (edge + 1) % count, count + edge] for edge in range(count)]
        faces += [list(range(count)), list(range(count, 2 * count))]
        distances = [float(np.hypot(*corners[face][:, [0, 2]].mean(0))) for face in faces]
        for index in np.argsort(distances)[::-1].tolist():
            paint = shade(colour, 1.1 if 1 < index < count - 2 else 0.9)
            self.canvas.polygon(pixels[faces[index]], GLASS if index in self.body.glass else paint, self.name)

    def _paint_windows_and_wheels(self) -> None:
        number, left, low, right, high = self.body.windows
        lit = self.canvas.hour.night and self.name in ("bus", "train")
        for start, stop in pairwise(np.linspace(left, right, number + 1).tolist()):
            self.side.box((start + 0.008, low, stop - 0.008, high), self.canvas.lamp((250, 235, 180)) if lit else GLASS)
        radius = 0.33 if self.name == "car" else 0.5
        wheel = np.array([radius / self.body.length, radius / self.body.height])
        for along in self.body.wheels:
            hub = (along, wheel[1])
            self.side.polygon(CIRCLE * wheel + hub, DARK, self.name)
            self.side.polygon(CIRCLE * wheel / 2 + hub, (120, 120, 125))

    def _paint_lamps(self) -> None:
        """Lamps, the wheels below them and a number plate."""
        metre, lamp = 1 / self.body.height, self.canvas.lamp((255, 246, 215) if self.comes else (200, 20, 24))
        for left in (-0.92, 0.62):
            self.end.box((left, 0, left + 0.3, self.body.outline[0][1]), DARK, self.name)
            self.end.box((left, 0.55 * metre, left + 0.3, 0.75 * metre), lamp)
        self.end.box((-0.2, 0.36 * metre, 0.2, 0.48 * metre), (225, 225, 215))
