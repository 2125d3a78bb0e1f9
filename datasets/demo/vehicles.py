"""Cars, trucks, buses and trains: side profiles drawn out to solid bodies that stand at any angle."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from datasets.demo.canvas import Canvas, Plane, surface
from datasets.demo.textures import CORRUGATED, DARK, GLASS, GLOW, RGB, shade, tone

Pane = tuple[float, float, float, float]  # left, low, right, high in parts of length and height


class Body(NamedTuple):
    """A kind of vehicle: size in metres, profile from tail to nose in parts of length and height, glazed edges."""

    name: str
    length: float
    width: float
    height: float
    profile: tuple[tuple[float, float], ...]
    glazed: tuple[int, ...]
    panes: tuple[Pane, ...]  # side windows
    wheels: tuple[float, ...]
    radius: float = 0.33


_SEDAN = ((0, 0.17), (0, 0.6), (0.13, 0.66), (0.24, 1), (0.58, 1), (0.74, 0.63), (0.99, 0.52), (1, 0.17))
_HATCH = ((0, 0.17), (0, 0.6), (0.07, 0.95), (0.2, 1), (0.55, 1), (0.76, 0.62), (0.98, 0.5), (1, 0.17))
_VAN = ((0, 0.14), (0, 0.55), (0.02, 0.98), (0.1, 1), (0.66, 1), (0.83, 0.6), (1, 0.5), (1, 0.14))
_BOX = ((0, 0.28), (0, 0.6), (0, 1), (0.5, 1), (1, 1), (1, 0.28))
_CAB = ((0, 0.12), (0, 0.55), (0, 1), (0.62, 1), (0.96, 0.56), (1, 0.5), (1, 0.12))
_BUS = ((0, 0.12), (0, 0.55), (0.01, 1), (0.4, 1), (0.985, 1), (1, 0.45), (1, 0.12))
_TRAM = ((0, 0.1), (0, 0.5), (0.012, 0.96), (0.03, 1), (0.97, 1), (0.988, 0.96), (1, 0.5), (1, 0.1))


def _row(count: int, first: float, last: float, low: float, high: float) -> tuple[Pane, ...]:
    edges = np.linspace(first, last, count + 1).tolist()
    return tuple((left + 0.008, low, right - 0.008, high) for left, right in pairwise(edges))


CARS = (
    Body("car", 4.5, 1.8, 1.45, _SEDAN, (2, 4), ((0.24, 0.64, 0.43, 0.93), (0.45, 0.64, 0.64, 0.93)), (0.19, 0.81)),
    Body("car", 3.9, 1.75, 1.5, _HATCH, (1, 4), ((0.12, 0.63, 0.36, 0.93), (0.38, 0.63, 0.62, 0.93)), (0.18, 0.81)),
    Body("car", 4.8, 1.95, 1.9, _VAN, (1, 4), ((0.08, 0.6, 0.38, 0.92), (0.4, 0.6, 0.7, 0.92)), (0.17, 0.82), 0.36),
)
CARGO = Body("truck", 5.6, 2.4, 3.4, _BOX, (), (), (0.12, 0.3), 0.5)
CAB = Body("truck", 2.2, 2.3, 2.6, _CAB, (3,), ((0.25, 0.55, 0.68, 0.9),), (0.55,), 0.5)
BUS = Body("bus", 11.0, 2.5, 3.1, _BUS, (1, 4), _row(7, 0.03, 0.97, 0.5, 0.86), (0.2, 0.8), 0.5)
TRAIN = Body("train", 13.0, 2.6, 3.6, _TRAM, (1, 5), _row(9, 0.06, 0.94, 0.48, 0.78), (), 0.4)


class Solid:
    """A body at a place on the street, nose `yaw` radians to the left of straight ahead."""

    def __init__(self, canvas: Canvas, body: Body, at: np.ndarray, yaw: float) -> None:
        self.canvas, self.body, self.at, self.skin = canvas, body, at, surface(body.name)
        nose, side = np.array([-np.sin(yaw), np.cos(yaw)]), np.array([np.cos(yaw), np.sin(yaw)])
        (x, z), (across, along) = nose * body.length, side * body.width / 2
        self.axes = np.array([(x, 0, z), (across, 0, along), (0, body.height, 0)])  # length, half width, height
        view = np.array([canvas.camera.offset - at[0] - canvas.camera.bend * at[1] ** 2, -at[1]])
        near, ahead = np.sign(view @ side), float(view @ nose) / (body.length / 2)
        self.comes = ahead > 0  # toward the camera
        self.flank = Plane(canvas, self.place((0, near, 0)), self.axes[0], self.axes[2])  # the long side in view
        # The end in view, if any: from -1 to 1 across.
        self.end = Plane(canvas, self.place((self.comes, 0, 0)), self.axes[1], self.axes[2]) if abs(ahead) > 1 else None

    def place(self, points: np.ndarray | tuple[float, float, float]) -> np.ndarray:
        """Parts of (length 0..1, half width -1..1, height 0..1) to metres: (..., 3) -> (..., 3)."""
        return (np.asarray(points) - (0.5, 0, 0)) @ self.axes + (self.at[0], 0, self.at[1])

    def hull(self, paint: RGB) -> None:
        """Every face of the drawn-out profile, far ones first."""
        body, count = self.body, len(self.body.profile)
        spots = self.place(np.array([(u, side, h) for side in (-1.0, 1.0) for u, h in body.profile]))
        pixels = self.canvas.camera.project(spots)
        faces = [[i, (i + 1) % count, count + (i + 1) % count, count + i] for i in range(count)]
        faces += [list(range(count)), list(range(count, 2 * count))]
        light = [0.85] * 2 + [1.15] * (count - 4) + [0.8] * 2 + [0.95, 0.95]
        gaps = [float(np.hypot(*spots[face][:, [0, 2]].mean(0))) for face in faces]
        for index in sorted(range(len(faces)), key=gaps.__getitem__, reverse=True):
            colour = GLASS if index in body.glazed else shade(paint, light[index])
            self.canvas.polygon(pixels[faces[index]], colour, self.skin)

    def stripe(self, low: float, high: float, colour: RGB) -> None:
        """A band along the side and around the end."""
        self.flank.box((0, low, 1, high), colour)
        if self.end:
            self.end.box((-1, low, 1, high), colour)

    def fittings(self, windows: RGB = GLASS) -> None:
        """Side windows, wheels, lamps and number plate."""
        body, lean = self.body, 0.06 if self.body.name == "car" else 0.0
        for left, low, right, high in body.panes:
            self.flank.polygon([(left - lean, low), (left, high), (right, high), (right + lean, low)], windows)
        turns = np.linspace(0, 2 * np.pi, 11)
        circle = np.stack([np.cos(turns) / body.length, np.sin(turns) / body.height], 1) * body.radius
        for hub in body.wheels:
            at = np.array([hub, body.radius / body.height])
            self.flank.polygon(circle + at, DARK, self.skin)
            self.flank.polygon(circle * 0.55 + at, (120, 120, 125))
        if not self.end:
            return
        metre, wide = 1 / body.height, 0.5 / body.width
        lamp = self.skin._replace(material=GLOW) if self.canvas.mood.hour.night else None
        for left in (-0.92, 0.92 - wide):
            self.end.box((left, 0, left + wide, body.profile[0][1] + 0.02), DARK, self.skin)
            colour = (255, 246, 215) if self.comes else (200, 20, 24)
            self.end.box((left, 0.58 * metre, left + wide, 0.75 * metre), colour, lamp)
        self.end.box((-0.5 * wide, 0.38 * metre, 0.5 * wide, 0.5 * metre), (225, 225, 215))


def _lit(canvas: Canvas) -> RGB:
    return (250, 235, 180) if canvas.mood.hour.night else GLASS


def paint_car(canvas: Canvas, at: np.ndarray, yaw: float) -> None:
    rng = canvas.rng
    solid = Solid(canvas, CARS[rng.integers(len(CARS))], at, yaw)
    paint = tone(rng, (0, 1), (0, rng.choice((0.1, 0.85))), (0.1, 0.95))
    solid.hull(paint)
    solid.flank.box((0.02, 0.42, 0.98, 0.45), shade(paint, 0.7))
    solid.fittings()


def paint_truck(canvas: Canvas, at: np.ndarray, yaw: float) -> None:
    nose = np.array([-np.sin(yaw), np.cos(yaw)])
    box, cab = Solid(canvas, CARGO, at - 1.2 * nose, yaw), Solid(canvas, CAB, at + 2.9 * nose, yaw)
    box.skin = box.skin._replace(material=CORRUGATED)
    load, paint = (tone(canvas.rng, (0, 1), (0, 0.6), (0.3, 0.95)) for _ in range(2))
    for part in (box, cab) if box.comes else (cab, box):
        part.hull(load if part is box else paint)
        if part is box:
            for along in np.linspace(0.1, 0.9, 5).tolist():
                box.flank.box((along, 0.32, along + 0.012, 0.97), shade(load, 0.72))
            box.stripe(0.28, 0.36, (55, 55, 57))
            if box.end:
                box.end.box((-0.02, 0.36, 0.02, 0.97), shade(load, 0.6))
                for left in np.arange(-1, 1, 0.4).tolist():  # warning stripes
                    box.end.polygon(
                        [(left, 0.29), (left + 0.2, 0.36), (left + 0.4, 0.36), (left + 0.2, 0.29)], (225, 60, 40)
                    )
        part.fittings()


def paint_bus(canvas: Canvas, at: np.ndarray, yaw: float) -> None:
    solid = Solid(canvas, BUS, at, yaw)
    solid.hull(tone(canvas.rng, (0, 1), (0.1, 0.9), (0.35, 0.95)))
    solid.stripe(0.3, 0.38, tone(canvas.rng, (0, 1), (0, 0.9), (0.3, 1)))
    solid.fittings(_lit(canvas))
    for door in (0.57, 0.87):
        solid.flank.box((door, 0.16, door + 0.09, 0.84), (30, 34, 40))
    if solid.end:
        solid.end.box((-0.85, 0.45, 0.85, 0.8), GLASS)
        solid.end.box((-0.7, 0.84, 0.7, 0.94), (240, 170, 40), solid.skin._replace(material=GLOW))


def paint_train(canvas: Canvas, at: np.ndarray, yaw: float) -> None:
    """Two coupled carriages."""
    rng, nose = canvas.rng, np.array([-np.sin(yaw), np.cos(yaw)])
    paint, stripe = (tone(rng, (0, 1), (0, 0.9), (0.3, 0.95)) for _ in range(2))
    carriages = [Solid(canvas, TRAIN, at + step * nose, yaw) for step in (-6.5, 6.5)]
    for solid in sorted(carriages, key=lambda solid: -float(np.hypot(*solid.at))):
        solid.hull(paint)
        for low, high, colour in ((0.1, 0.2, (45, 45, 48)), (0.34, 0.42, stripe), (0.86, 0.97, (95, 95, 98))):
            solid.stripe(low, high, colour)
        solid.fittings(_lit(canvas))
        if solid.end:
            solid.end.box((-0.75, 0.48, 0.75, 0.82), GLASS)
        pantograph = canvas.camera.project(solid.place(np.array([(0.5, 0, 1), (0.46, 0, 1.16), (0.54, 0, 1.16)])))
        canvas.line(pantograph[[0, 1, 2, 0]], (40, 40, 42), solid.flank.unit * 0.06, solid.skin)
