"""People, two-wheelers, trees and street furniture: flat figures that face the camera."""

from __future__ import annotations

from functools import partial

import numpy as np

from datasets.demo.canvas import CIRCLE, Plane, shade, tone
from datasets.demo.styles import RGB
from datasets.demo.vehicles import DARK

_GREY: RGB = (130, 130, 134)
_COAT = [(-0.24, 1.4), (-0.08, 1.48), (0.08, 1.48), (0.24, 1.4), (0.2, 0.7), (-0.2, 0.7)]
_FRAME = [(-0.52, 0.36), (-0.18, 0.8), (0.4, 0.82), (0, 0.32), (-0.18, 0.8), (0, 0.32), (-0.52, 0.36)]
_ENGINE = [(-0.75, 0.4), (-0.4, 0.75), (0.4, 0.78), (0.55, 0.45), (0.3, 0.22), (-0.4, 0.22)]
_TANK = [(-0.98, 0.68), (-0.9, 0.86), (-0.12, 0.78), (0.42, 0.98), (0.9, 0.72), (1.02, 0.6), (0.5, 0.5)]
_BOARDS = (CIRCLE, [(-1, -0.7), (0, 1), (1, -0.7)], [(-1.7, -0.7), (-1.7, 0.7), (1.7, 0.7), (1.7, -0.7)])


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
        figure.line(CIRCLE * 0.33 + (hub, 0.36), DARK, 0.07 if name == "bicycle" else 0.16)
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
    leaf, bark = tone(rng, *figure.canvas.style.leaf), tone(rng, (0.04, 0.12), (0.1, 0.5), (0.15, 0.45))
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
    head = figure.canvas.lamp((235, 225, 190)) if figure.canvas.hour.night else colour
    figure.line([(1.2, tall + 0.45), (2.0, tall + 0.5)], head, 0.24, "pole")


def paint_traffic_light(figure: Plane) -> None:
    rng, low = figure.rng, figure.rng.uniform(2.1, 2.7)
    figure.line([(0, 0), (0, low)], tone(rng, (0, 1), (0, 0.2), (0.2, 0.65)), 0.2, "pole")
    figure.box((-0.28, low - 0.1, 0.28, low + 1.3), DARK, "traffic light")
    on = rng.integers(3)
    for place, colour in enumerate([(40, 220, 120), (250, 180, 30), (245, 40, 30)]):
        lamp = figure.canvas.lamp(colour) if place == on else shade(colour, 0.25)
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
