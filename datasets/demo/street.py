"""The street without its objects: sky, ground, and the borders on both sides."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from PIL import Image

from datasets.demo.canvas import Canvas, Plane, shade, tone
from datasets.demo.styles import RGB, Style

_STATIONS = (1 + 139 * np.linspace(0, 1, 16) ** 3).tolist()  # metres ahead, closer together near the camera
_STRIPS = (("sidewalk",), ("sidewalk", "terrain"), ("terrain", "sidewalk"), ("terrain",))  # from the kerb outward


class Road(NamedTuple):
    """A street seen from above. Metres are right of its middle."""

    lanes: int  # each way
    half: float  # from the middle to the kerb
    strips: list[tuple[str, float, float]]  # class, inner and outer edge of the ground beside the road
    borders: dict[int, float]  # side (-1 left, 1 right) -> metres from the middle to the border


def draw_road(style: Style, rng: np.random.Generator) -> Road:
    lanes = int(rng.integers(1, style.lanes + 1))
    half = lanes * rng.uniform(3.2, 3.8)
    road = Road(lanes, half, [], {-1: half, 1: half})
    for side in (-1, 1):
        for name in _STRIPS[rng.integers(len(_STRIPS))]:
            inner = road.borders[side]
            road.borders[side] += rng.uniform(2.5, 6.0)
            road.strips.append((name, side * inner, side * road.borders[side]))
    return road


def paint_sky(canvas: Canvas) -> None:
    """A gradient from the top to where the ground begins."""
    height = int(canvas.project((0, 0, _STATIONS[-2]))[1])
    ramp = np.linspace(0, 1, height)[:, None, None] ** 1.3
    sky = np.array(canvas.hour.zenith) * (1 - ramp) + np.array(canvas.hour.haze) * ramp
    canvas.picture.paste(Image.fromarray(sky.astype(np.uint8)).resize((canvas.width, height)))


def paint_ground(canvas: Canvas, road: Road) -> None:
    """Terrain, the strips beside the road with their kerbs, the road and its markings."""
    rng, soil = canvas.rng, tone(canvas.rng, *canvas.style.soil)
    paving, asphalt = tone(rng, (0.02, 0.16), (0, 0.2), (0.45, 0.75)), tone(rng, (0, 1), (0, 0.08), (0.28, 0.46))
    _paint_strip(canvas, "terrain", -300, 300, soil)
    for name, inner, outer in road.strips:
        colour = paving if name == "sidewalk" else shade(soil, rng.uniform(0.85, 1.15))
        _paint_strip(canvas, name, inner, outer, colour)
        _paint_strip(canvas, name, inner, inner + 0.15 * np.sign(inner), shade(paving, 1.2))
    _paint_strip(canvas, "road", -road.half, road.half, asphalt)
    marking = tone(rng, (0.1, 0.2), (0, 0.1), (0.7, 0.92))
    for right in np.linspace(-road.half, road.half, 2 * road.lanes + 1)[1:-1].tolist():
        for ahead in np.arange(rng.uniform(1, 6), 60, 7.5).tolist():
            canvas.ground.box((right - 0.08, ahead, right + 0.08, ahead + (3 if right else 7)), marking)
    if rng.random() < 0.35:  # a zebra crossing
        ahead = rng.uniform(8, 30)
        for right in np.arange(0.4 - road.half, road.half - 0.4, 1.1).tolist():
            canvas.ground.box((right, ahead, right + 0.55, ahead + 2.6), marking)


def _paint_strip(canvas: Canvas, name: str, inner: float, outer: float, colour: RGB) -> None:
    """Ground along the street, in slices, because haze grows with depth."""
    for near, far in list(pairwise(_STATIONS))[::-1]:
        canvas.depth = near
        canvas.ground.box((inner, near, outer, far), colour, name)


def paint_building(flank: Plane, length: float) -> None:
    """A house with rows of windows on its side along the street and on its front toward the camera."""
    canvas, rng, style = flank.canvas, flank.rng, flank.canvas.style
    front = Plane(canvas, flank.origin, (np.sign(flank.origin[0]), 0, 0), (0, 1, 0))
    storey, bay, part = rng.uniform(2.8, 3.4), rng.uniform(2.2, 3.6), rng.uniform(0.35, 0.65)
    height = storey * rng.integers(style.storeys[0], style.storeys[1] + 1) + 0.8
    colour, pane = tone(rng, *style.facade), tone(rng, (0.5, 0.65), (0.05, 0.4), (0.15, 0.5))
    for face, wide, light in ((flank, length, rng.uniform(0.75, 1.0)), (front, rng.uniform(8, 14), 1.0)):
        face.box((0, 0, wide, height), shade(colour, light), "building")
        face.box((0, height - 0.35, wide, height), shade(colour, 0.7))
        face.box((0, 0, wide, 0.6), shade(colour, 0.6))
        left, low = np.meshgrid(np.arange(bay * 0.4, wide - bay * part, bay), np.arange(1.2, height - 2, storey))
        _paint_windows(face, np.stack([left, low], -1).reshape(-1, 1, 2), (bay * part, storey * 0.5), pane)


def _paint_windows(face: Plane, corners: np.ndarray, size: tuple[float, float], colour: RGB) -> None:
    """Windows from their lower left corners N,1,2, without those too small or too far aside to be seen."""
    canvas = face.canvas
    pixels = face.pixels(corners + np.array([(0, 0), (0, 1), (1, 1), (1, 0)]) * size)
    low, high = pixels.min(1), pixels.max(1)
    visible = (high > 0).all(1) & (low < canvas.picture.size).all(1) & (high - low > 3).all(1)
    for window in pixels[visible]:
        lit = canvas.hour.night and canvas.rng.random() < 0.35
        canvas.polygon(window, canvas.lamp((245, 215, 140)) if lit else colour)


def paint_barrier(flank: Plane, length: float, name: str) -> None:
    """A wall with a coping, a fence of pickets with a rail, or a hedge with tufts."""
    rng = flank.rng
    height, colour = rng.uniform(1.2, 2.6), tone(rng, (0, 1), (0, 0.4), (0.2, 0.9))
    if name == "vegetation":
        colour = tone(rng, *flank.canvas.style.leaf)
        for along in np.linspace(length, 0, 20).tolist():
            flank.disc((along, height * 0.9), 0.5, shade(colour, rng.uniform(0.8, 1.2)), name)
    # What shows between the pickets is fence too, as in the real labels.
    flank.box((0, 0, length, height), None if name == "fence" else colour, name)
    if name != "vegetation":
        flank.box((0, height - 0.16, length, height), shade(colour, 1.2))
    if name == "fence":
        for along in np.arange(0, length, rng.uniform(0.4, 0.7))[::-1].tolist():
            flank.box((along, 0, along + 0.16, height), colour)
