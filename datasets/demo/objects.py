"""What stands in a street: vehicles are solid bodies; all others are flat figures that face the camera."""

from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from datasets.demo.camera import CIRCLE, Camera, Plane, shade, tone
from datasets.demo.styles import RGB

_DARK, _GLASS, _GREY = (26, 26, 30), (38, 46, 56), (130, 130, 134)
_COAT = [(-0.24, 1.4), (-0.08, 1.48), (0.08, 1.48), (0.24, 1.4), (0.2, 0.7), (-0.2, 0.7)]
_FRAME = [(-0.52, 0.36), (-0.18, 0.8), (0.4, 0.82), (0, 0.32), (-0.18, 0.8), (0, 0.32), (-0.52, 0.36)]
_ENGINE = [(-0.75, 0.4), (-0.4, 0.75), (0.4, 0.78), (0.55, 0.45), (0.3, 0.22), (-0.4, 0.22)]
_TANK = [(-0.98, 0.68), (-0.9, 0.86), (-0.12, 0.78), (0.42, 0.98), (0.9, 0.72), (1.02, 0.6), (0.5, 0.5)]
_BOARDS = (CIRCLE, [(-1, -0.7), (0, 1), (1, -0.7)], [(-1.7, -0.7), (-1.7, 0.7), (1.7, 0.7), (1.7, -0.7)])
# Side views from the tail over the roof to the nose
_SEDAN = ((0, 0.17), (0, 0.6), (0.13, 0.66), (0.24, 1), (0.58, 1), (0.74, 0.63), (0.99, 0.52), (1, 0.17))
_HATCH = ((0, 0.17), (0, 0.6), (0.07, 0.95), (0.2, 1), (0.55, 1), (0.76, 0.62), (0.98, 0.5), (1, 0.17))
_TRUCK = ((0, 0.28), (0, 1), (0.7, 1), (0.72, 0.76), (0.93, 0.76), (0.99, 0.42), (1, 0.1))
_BUS = ((0, 0.12), (0, 0.5), (0.01, 0.9), (0.02, 1), (0.98, 1), (0.99, 0.9), (1, 0.45), (1, 0.12))
_TRAM = ((0, 0.08), (0, 0.5), (0.02, 0.85), (0.03, 1), (0.97, 1), (0.98, 0.85), (1, 0.5), (1, 0.08))


class Body(NamedTuple):
    """The form of a vehicle. All but the size is in parts of the length and the height."""

    size: tuple[float, float, float]  # length, width and height in metres
    outline: tuple[tuple[float, float], ...]
    glass: tuple[int, ...]  # edges of the outline that are windows
    windows: tuple[int, float, float, float, float]  # of a side: number, left, low, right, high
    wheels: tuple[float, ...]


VEHICLES = {
    "car": (
        Body((4.5, 1.8, 1.45), _SEDAN, (2, 4), (2, 0.24, 0.64, 0.64, 0.93), (0.19, 0.81)),
        Body((4.2, 1.75, 1.55), _HATCH, (1, 4), (2, 0.12, 0.63, 0.62, 0.93), (0.18, 0.81)),
    ),
    "truck": (Body((8.0, 2.4, 3.4), _TRUCK, (4,), (1, 0.8, 0.44, 0.92, 0.7), (0.1, 0.24, 0.86)),),
    "bus": (Body((11.0, 2.5, 3.1), _BUS, (1, 5), (7, 0.03, 0.5, 0.97, 0.86), (0.2, 0.8)),),
    "train": (Body((22.0, 2.6, 3.6), _TRAM, (1, 5), (16, 0.03, 0.48, 0.97, 0.8), ()),),
}


class Vehicle:
    """A vehicle in its place. Its own coordinates are 0..1 along the length, -1..1 across and 0..1 up."""

    def __init__(self, camera: Camera, name: str, right: float, ahead: float, yaw: float) -> None:
        """Its middle is in metres; its nose points ``yaw`` radians left of straight ahead."""
        self.camera, self.name = camera, name
        self.body = VEHICLES[name][camera.rng.integers(len(VEHICLES[name]))]
        self.length, width, self.height = self.body.size
        along = np.array([-np.sin(yaw), 0, np.cos(yaw)]) * self.length
        across = np.array([np.cos(yaw), 0, np.sin(yaw)]) * width / 2
        self.axes = np.array([along, across, (0, self.height, 0)])
        self.tail = np.array([right, 0, ahead]) - along / 2
        to_camera = np.array([camera.offset - right - camera.bend * ahead**2, 0, -ahead])
        nearer, self.comes = np.sign(to_camera @ across), bool(to_camera @ along > 0)
        self.side = Plane(camera, self.tail + nearer * across, along, self.axes[2])
        self.end = Plane(camera, self.tail + self.comes * along, across, self.axes[2])
        self.shows_end = abs(to_camera @ along) > self.length**2 / 2

    def paint(self) -> None:
        """The shadow below it, then all that is in view."""
        rng = self.camera.rng
        colour = tone(rng, (0, 1), (0, rng.choice((0.1, 0.85))), (0.15, 0.95))
        base = self.tail + np.array([(0, -1.2), (0, 1.2), (1, 1.2), (1, -1.2)]) @ self.axes[:2]
        self.camera.polygon(self.camera.project(base), shade((90, 90, 94), 1 - self.camera.hour.shadow))
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
        pixels = self.camera.project(corners)
        faces = [[edge, (edge + 1) % count, count + (edge + 1) % count, count + edge] for edge in range(count)]
        faces += [list(range(count)), list(range(count, 2 * count))]
        distances = [float(np.hypot(*corners[face][:, [0, 2]].mean(0))) for face in faces]
        for index in np.argsort(distances)[::-1].tolist():
            paint = shade(colour, 1.1 if 1 < index < count - 2 else 0.9)
            self.camera.polygon(pixels[faces[index]], _GLASS if index in self.body.glass else paint, self.name)

    def _paint_windows_and_wheels(self) -> None:
        number, left, low, right, high = self.body.windows
        lit = self.camera.hour.night and self.name in ("bus", "train")
        pane = self.camera.lamp((250, 235, 180)) if lit else _GLASS
        for start, stop in pairwise(np.linspace(left, right, number + 1).tolist()):
            self.side.box((start + 0.008, low, stop - 0.008, high), pane)
        radius = 0.33 if self.name == "car" else 0.5
        wheel = np.array([radius / self.length, radius / self.height])
        for along in self.body.wheels:
            self.side.polygon(CIRCLE * wheel + (along, wheel[1]), _DARK, self.name)
            self.side.polygon(CIRCLE * wheel / 2 + (along, wheel[1]), (120, 120, 125))

    def _paint_lamps(self) -> None:
        """Lamps, the wheels below them and a number plate."""
        metre, lamp = 1 / self.height, self.camera.lamp((255, 246, 215) if self.comes else (200, 20, 24))
        for left in (-0.92, 0.62):
            self.end.box((left, 0, left + 0.3, self.body.outline[0][1]), _DARK, self.name)
            self.end.box((left, 0.55 * metre, left + 0.3, 0.75 * metre), lamp)
        self.end.box((-0.2, 0.36 * metre, 0.2, 0.48 * metre), (225, 225, 215))


def paint_person(figure: Plane) -> None:
    rng, coat, trousers = figure.rng, _cloth(figure), _cloth(figure)
    figure.axes *= rng.uniform(0.8, 1.1)
    stride = rng.uniform(0.05, 0.35)
    for step in (-stride, stride):
        figure.line([(0, 0.8), (step * 0.7, 0.4), (step, 0)], shade(trousers, 1 + step), 0.19, "person")
        figure.line([(0, 1.38), (step + 0.1, 1.1), (step, 0.8)], shade(coat, 0.8), 0.13, "person")
    figure.polygon(_COAT, coat, "person")
    _paint_head(figure, (0, 1.62), "person")


def _cloth(figure: Plane) -> RGB:
    return tone(figure.rng, (0, 1), (0, 0.8), (0.08, 0.95))


def _paint_head(figure: Plane, centre: tuple[float, float], name: str) -> None:
    hair, skin = _cloth(figure), tone(figure.rng, (0.04, 0.09), (0.3, 0.6), (0.3, 0.9))
    figure.disc(centre, 0.15, hair, name)
    figure.disc((centre[0] + 0.03, centre[1] - 0.03), 0.11, skin, name)


def paint_cycle(figure: Plane, name: str) -> None:
    """A bicycle or a motorcycle, seen obliquely from its left or its right, usually with a rider."""
    rng, coat, trousers = figure.rng, _cloth(figure), _cloth(figure)
    colour = tone(rng, (0, 1), (0, 0.95), (0.15, 0.95))
    figure.axes[0] *= rng.choice((-1.0, 1.0)) * rng.uniform(0.55, 1)
    for hub in (-0.58, 0.58):
        figure.disc((hub, 0.36), 0.38, None if name == "bicycle" else _GREY, name)
        figure.line(CIRCLE * 0.33 + (hub, 0.36), _DARK, 0.07 if name == "bicycle" else 0.16)
    if name == "bicycle":
        figure.line(_FRAME, colour, 0.08, name)
    else:
        figure.polygon(_ENGINE, (70, 70, 74), name)
        figure.polygon(_TANK, colour, name)
    figure.line([(0.55, 0.36), (0.42, 1.0), (0.28, 1.05)], _GREY, 0.08, name)
    if rng.random() < 0.75:
        figure.line([(-0.22, 0.9), (0.2, 0.8), (0.04, 0.3)], trousers, 0.2, "rider")
        figure.line([(-0.2, 0.9), (0.04, 1.38)], coat, 0.34, "rider")
        figure.line([(0.04, 1.36), (0.2, 1.12), (0.34, 1.05)], shade(coat, 0.8), 0.13, "rider")
        _paint_head(figure, (0.14, 1.6), "rider")


def paint_tree(figure: Plane) -> None:
    """A trunk, and a crown of discs, dark ones below and bright ones above."""
    rng, tall, wide = figure.rng, figure.rng.uniform(3, 9), figure.rng.uniform(1.0, 2.6)
    leaf, bark = tone(rng, *figure.camera.style.leaf), tone(rng, (0.04, 0.12), (0.1, 0.5), (0.15, 0.45))
    figure.line([(0, 0), (rng.uniform(-0.3, 0.3), tall * 0.7)], bark, rng.uniform(0.25, 0.5), "vegetation")
    for part in np.linspace(0, 1, 9).tolist():
        turn, spread = rng.uniform(0, 2 * np.pi), wide * 0.6 * (1 - 0.6 * part)
        centre = (np.cos(turn) * spread, np.sin(turn) * spread + tall * 0.75 + wide * 0.4 * (part - 0.5))
        figure.disc(centre, wide * rng.uniform(0.35, 0.6), shade(leaf, 0.6 + 0.6 * part), "vegetation")


def paint_street_lamp(figure: Plane) -> None:
    """A pole whose arm reaches over the road."""
    tall, colour = figure.rng.uniform(5, 8), tone(figure.rng, (0, 1), (0, 0.15), (0.2, 0.6))
    figure.axes[0] *= -np.sign(figure.origin[0])
    figure.line([(0, 0), (0, tall), (0.4, tall + 0.4), (1.6, tall + 0.5)], colour, 0.2, "pole")
    head = figure.camera.lamp((235, 225, 190)) if figure.camera.hour.night else colour
    figure.line([(1.2, tall + 0.45), (2.0, tall + 0.5)], head, 0.24, "pole")


def paint_traffic_light(figure: Plane) -> None:
    rng, low = figure.rng, figure.rng.uniform(2.1, 2.7)
    figure.line([(0, 0), (0, low)], tone(rng, (0, 1), (0, 0.2), (0.2, 0.65)), 0.2, "pole")
    figure.box((-0.28, low - 0.1, 0.28, low + 1.3), _DARK, "traffic light")
    on = rng.integers(3)
    for place, colour in enumerate([(40, 220, 120), (250, 180, 30), (245, 40, 30)]):
        lamp = figure.camera.lamp(colour) if place == on else shade(colour, 0.25)
        figure.disc((0, low + 0.2 + 0.4 * place), 0.16, lamp)


def paint_traffic_sign(figure: Plane) -> None:
    rng, low = figure.rng, figure.rng.uniform(2.4, 3.0)
    figure.line([(0, 0), (0, low)], tone(rng, (0, 1), (0, 0.1), (0.35, 0.7)), 0.13, "pole")
    board, size = np.array(_BOARDS[rng.integers(len(_BOARDS))]), rng.uniform(0.42, 0.6)
    rim, face = ((200, 30, 35), (240, 240, 240)) if rng.random() < 0.5 else ((235, 235, 240), (25, 70, 165))
    figure.polygon(board * size + (0, low), rim, "traffic sign")
    figure.polygon(board * size * 0.72 + (0, low), face)
    figure.line([(-0.15, low - 0.05), (0.15, low + 0.05)], rim, 0.12)


FIGURES = {
    "person": paint_person,
    "bicycle": partial(paint_cycle, name="bicycle"),
    "motorcycle": partial(paint_cycle, name="motorcycle"),
    "tree": paint_tree,
    "street lamp": paint_street_lamp,
    "traffic light": paint_traffic_light,
    "traffic sign": paint_traffic_sign,
}
