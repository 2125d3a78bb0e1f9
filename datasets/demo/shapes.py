"""People, two-wheelers, trees and street furniture: flat figures that share their shapes over all styles."""

from __future__ import annotations

import numpy as np

from datasets.demo.canvas import VOID, Plane, surface
from datasets.demo.textures import CLOTH, DARK, GLOW, LEAF, RGB, shade, tone

PERSON, RIDER = surface("person", CLOTH), surface("rider", CLOTH)
BICYCLE, MOTORCYCLE = surface("bicycle"), surface("motorcycle")
VEGETATION, POLE = surface("vegetation", LEAF), surface("pole")
LIGHT, SIGN = surface("traffic light"), surface("traffic sign")
_GREY: RGB = (130, 130, 134)
_COAT = np.array([(-0.25, 0.82), (-0.08, 0.87), (0.08, 0.87), (0.25, 0.82), (0.2, 0.4), (-0.2, 0.4)])
_HAIR = np.array([(-0.13, 0.93), (-0.1, 1), (0.1, 1), (0.13, 0.93)])
_BACK = np.array([(-0.37, 0), (-0.18, 0.55), (0.16, 0.57), (0, 0)])  # of a rider, from the hip
_FRAME = [(-0.52, 0.36), (-0.18, 0.8), (0.4, 0.82), (0, 0.32), (-0.18, 0.8), (0, 0.32), (-0.52, 0.36)]
_ENGINE = [(-0.75, 0.4), (-0.4, 0.75), (0.4, 0.78), (0.55, 0.45), (0.3, 0.22), (-0.4, 0.22)]
_TANK = [(-0.15, 0.6), (-0.08, 0.95), (0.42, 0.98), (0.9, 0.72), (1.02, 0.6), (0.5, 0.5)]
_SADDLE = [(-0.98, 0.68), (-0.9, 0.86), (-0.12, 0.8), (-0.12, 0.64)]
_BOARDS = (
    [(np.cos(turn), np.sin(turn)) for turn in np.linspace(0, 2 * np.pi, 13)],
    [(-1, -0.7), (0, 1), (1, -0.7)],
    [(-1, -1), (-1, 1), (1, 1), (1, -1)],
    [(-1.8, -0.7), (-1.8, 0.7), (1.8, 0.7), (1.8, -0.7)],
)


def _cloth(rng: np.random.Generator) -> RGB:
    return tone(rng, (0, 1), (0, 0.8), (0.08, 0.95))


def _skin(rng: np.random.Generator) -> RGB:
    return tone(rng, (0.04, 0.09), (0.3, 0.6), (0.3, 0.9))


def _leaves(figure: Plane) -> RGB:
    return tone(figure.rng, figure.canvas.style.leaf_hue, (0.25, 0.75), (0.2, 0.6))


def paint_person(figure: Plane) -> None:
    rng = figure.rng
    figure.turn(rng.choice((-1.0, 1.0)))
    tall, stride = rng.uniform(1.5, 1.9), rng.uniform(0.05, 0.35)
    coat, trousers = _cloth(rng), _cloth(rng)
    for step in (-stride, stride):
        leg = [(0, tall * 0.5), (step * 0.6, tall * 0.25), (step, 0.06), (step + 0.14, 0.03)]
        arm = [(0, tall * 0.79), (0.24 * np.sign(step), tall * 0.62), (step, tall * 0.47)]
        figure.limb(leg, shade(trousers, 1 + 0.4 * step), 0.19, PERSON)
        figure.limb(arm, shade(coat, 0.8), 0.13, PERSON)
    figure.polygon(_COAT * (1, tall), coat, PERSON)
    figure.disc((0, tall * 0.93), 0.13, _skin(rng), PERSON)
    figure.polygon(_HAIR * (1, tall), tone(rng, (0.05, 0.1), (0, 0.6), (0.05, 0.6)), PERSON)


def paint_bicycle(figure: Plane, ridden: bool) -> None:
    rng = figure.rng
    figure.turn(rng.choice((-1.0, 1.0)) * rng.uniform(0.55, 1))
    frame = tone(rng, (0, 1), (0, 0.9), (0.1, 0.9))
    figure.polygon([(-0.55, 0.35), (-0.2, 0.85), (0.4, 0.9), (0.55, 0.35), (0, 0.25)], None, BICYCLE)
    for hub in (-0.52, 0.52):
        figure.disc((hub, 0.36), 0.38, None, BICYCLE)
        figure.limb([(hub - 0.3, 0.36), (hub + 0.3, 0.36), (hub, 0.36), (hub, 0.06), (hub, 0.66)], _GREY, 0.02)
        figure.ring((hub, 0.36), 0.36, DARK, 0.07)
    figure.limb(_FRAME, frame, 0.07, BICYCLE)
    figure.limb([(0.52, 0.36), (0.38, 1.0), (0.26, 1.02)], frame, 0.07, BICYCLE)
    figure.limb([(-0.3, 0.9), (-0.06, 0.9)], DARK, 0.09, BICYCLE)
    if ridden:
        _paint_rider(figure, (-0.22, 0.92), (0.34, 1.05), (0.02, 0.25), helmet=bool(rng.random() < 0.4))


def paint_motorcycle(figure: Plane, ridden: bool) -> None:
    rng = figure.rng
    figure.turn(rng.choice((-1.0, 1.0)) * rng.uniform(0.5, 1))
    paint = tone(rng, (0, 1), (0.1, 0.95), (0.15, 0.95))
    for hub in (-0.68, 0.7):
        figure.disc((hub, 0.32), 0.33, DARK, MOTORCYCLE)
        figure.disc((hub, 0.32), 0.17, _GREY)
    for part, colour in ((_ENGINE, (70, 70, 74)), (_TANK, paint), (_SADDLE, shade(paint, 0.35))):
        figure.polygon(part, colour, MOTORCYCLE)
    figure.limb([(0.7, 0.32), (0.46, 1.05), (0.3, 1.12)], _GREY, 0.09, MOTORCYCLE)
    figure.limb([(-0.9, 0.3), (0.05, 0.27)], (185, 185, 190), 0.1, MOTORCYCLE)
    figure.disc((0.62, 0.92), 0.12, (240, 236, 205), MOTORCYCLE)
    for back in (0.0, -0.42)[: int(ridden) + int(ridden and rng.random() < 0.3)]:
        _paint_rider(figure, (back - 0.22, 0.84), (back + 0.36, 1.1), (back + 0.12, 0.32), helmet=True)


def _paint_rider(
    figure: Plane, hip: tuple[float, float], hand: tuple[float, float], foot: tuple[float, float], *, helmet: bool
) -> None:
    rng, (along, up) = figure.rng, hip
    coat = _cloth(rng)
    figure.limb([hip, (along + 0.42, up - 0.08), foot], _cloth(rng), 0.2, RIDER)
    figure.polygon(_BACK + hip + (0.2, 0), coat, RIDER)
    figure.limb([(along + 0.24, up + 0.49), (along + 0.42, up + 0.23), hand], shade(coat, 0.8), 0.13, RIDER)
    figure.disc((along + 0.32, up + 0.72), 0.14, _skin(rng), RIDER)
    if helmet:
        figure.disc((along + 0.29, up + 0.76), 0.16, _cloth(rng), RIDER)


def paint_tree(figure: Plane) -> None:
    rng, leaves = figure.rng, _leaves(figure)
    tall, wide, lean = rng.uniform(4, 9), rng.uniform(1.2, 2.6), rng.uniform(-0.3, 0.3)
    bark = tone(rng, (0.04, 0.12), (0.1, 0.5), (0.15, 0.45))
    figure.limb([(0, 0), (lean * 0.6, tall * 0.3), (lean, tall * 0.7)], bark, rng.uniform(0.25, 0.5), VEGETATION)
    if rng.random() < 0.25:
        for low, half in ((0.12, 0.8), (0.35, 0.6), (0.6, 0.4)):
            tier = [(-wide * half, tall * low), (0, tall * (low + 0.42)), (wide * half, tall * low)]
            figure.polygon(tier, shade(leaves, 0.6 + 0.4 * low), VEGETATION)
        return
    blobs = 10 if figure.unit > 16 else 5
    for part in np.linspace(0, 1, blobs).tolist():
        angle, spread = rng.uniform(0, 2 * np.pi), wide * 0.62 * (1 - 0.6 * part)
        at = lean + np.cos(angle) * spread, tall * 0.72 + np.sin(angle) * spread + 0.4 * wide * (part - 0.5)
        figure.disc(at, wide * rng.uniform(0.38, 0.62), shade(leaves, 0.6 + 0.6 * part), VEGETATION)


def paint_bush(figure: Plane) -> None:
    rng, leaves, size = figure.rng, _leaves(figure), figure.rng.uniform(0.5, 1.3)
    for blob in range(6):
        at = rng.uniform(-size, size), size * (0.5 + 0.1 * rng.uniform(-1, 4))
        figure.disc(at, size * rng.uniform(0.35, 0.6), shade(leaves, 0.65 + 0.07 * blob), VEGETATION)


def paint_lamp(figure: Plane) -> None:
    rng, night = figure.rng, figure.canvas.mood.hour.night
    tall, colour = rng.uniform(5, 8), tone(rng, (0, 1), (0, 0.15), (0.2, 0.6))
    figure.limb([(0, 0), (0, tall), (0.4, tall + 0.4), (1.6, tall + 0.5)], colour, rng.uniform(0.16, 0.24), POLE)
    head = (235, 225, 190) if night else shade(colour, 0.8)
    figure.limb([(1.2, tall + 0.45), (2.0, tall + 0.5)], head, 0.22, POLE._replace(material=GLOW * night))
    figure.limb([(0, 0), (0, 0.7)], shade(colour, 0.7), 0.32, POLE)


def paint_traffic_light(figure: Plane) -> None:
    rng = figure.rng
    tall, colour, lit = rng.uniform(3.0, 3.6), tone(rng, (0, 1), (0, 0.2), (0.2, 0.65)), int(rng.integers(3))
    arm = rng.uniform(2, 4) if rng.random() < 0.35 else 0.0
    figure.limb([(0, 0), (0, tall)], colour, 0.2, POLE)
    if arm:
        figure.limb([(0, tall), (0, 5.4), (arm, 5.5)], colour, 0.18, POLE)
    for along, low in ((0.0, tall - 0.9), (arm, 4.9))[: 1 + bool(arm)]:
        figure.box((along - 0.28, low - 0.1, along + 0.28, low + 1.3), DARK, LIGHT)
        for lamp, glow in enumerate(((40, 220, 120), (250, 180, 30), (245, 40, 30))):
            skin = LIGHT._replace(material=GLOW * (lamp == lit))
            figure.disc((along, low + 0.2 + 0.4 * lamp), 0.16, glow if lamp == lit else shade(glow, 0.25), skin)


def paint_sign(figure: Plane) -> None:
    rng, low = figure.rng, figure.rng.uniform(2.0, 2.6)
    figure.limb([(0, 0), (0, low + 0.4)], tone(rng, (0, 1), (0, 0.1), (0.35, 0.7)), 0.13, POLE)
    red = rng.random() < 0.5
    rim, face, glyph = ((200, 30, 35), (240, 240, 240), DARK) if red else ((235, 235, 240), (25, 70, 165), (240,) * 3)
    size, board = rng.uniform(0.42, 0.6), np.array(_BOARDS[rng.integers(len(_BOARDS))])
    for part, colour in ((1.0, rim), (0.74, face)):
        figure.polygon(board * size * part + (0, low + 0.5), colour, SIGN)
    figure.limb([(-size * 0.3, low + 0.45), (size * 0.3, low + 0.55)], glyph, 0.14)


def paint_bin(figure: Plane) -> None:
    colour = tone(figure.rng, (0, 1), (0, 0.8), (0.15, 0.7))
    figure.box((-0.35, 0, 0.35, 1.0), colour, VOID)
    figure.box((-0.4, 0.9, 0.4, 1.05), shade(colour, 0.7), VOID)
