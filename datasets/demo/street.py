"""The street itself: sky, ground, and what borders the street on either side."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

from datasets.demo.canvas import Canvas, Plane, Surface, surface
from datasets.demo.textures import (
    ASPHALT,
    BRICK,
    GLOW,
    GRASS,
    LEAF,
    MASONRY,
    PAVING,
    PLASTER,
    RGB,
    clouds,
    place,
    shade,
    tone,
)

ROAD, SIDEWALK = surface("road", ASPHALT), surface("sidewalk", PAVING)
TERRAIN, SKY = surface("terrain", GRASS), surface("sky", GLOW)
BUILDING, WALL, FENCE = surface("building", PLASTER), surface("wall", MASONRY), surface("fence")
HEDGE = surface("vegetation", LEAF)
_STATIONS = (1.0 + 139.0 * np.linspace(0, 1, 16) ** 3).tolist()  # metres ahead, closer together near the camera


class Band(NamedTuple):
    """A strip of ground along the street, from `inner` to `outer` metres right of the middle."""

    skin: Surface
    inner: float
    outer: float


class Plot(NamedTuple):
    """A piece of the street's border: which side (-1 left, 1 right), its line, and from where to where ahead."""

    side: int
    line: float
    near: float
    far: float

    def flank(self, canvas: Canvas) -> Plane:
        """The plane along the street, in metres from the near end."""
        return Plane(canvas, (self.side * self.line, 0, self.near), (0, 0, 1), (0, 1, 0))

    def front(self, canvas: Canvas) -> Plane:
        """The plane that faces the camera, in metres outward from the street."""
        return Plane(canvas, (self.side * self.line, 0, self.near), (self.side, 0, 0), (0, 1, 0))


def paint_sky(canvas: Canvas) -> None:
    """A gradient with clouds, down to where the ground is sure to begin."""
    camera, rng, hour = canvas.camera, canvas.rng, canvas.mood.hour
    width, height = camera.width, int(camera.project((0, 0, _STATIONS[-2]))[1])
    ramp = np.clip(np.linspace(0, height / camera.horizon, height // 8), 0, 1)[:, None, None] ** 1.3
    sky = (np.array(hour.sky_top) * (1 - ramp) + np.array(hour.sky_low) * ramp) * rng.uniform(0.9, 1.05)
    cover = clouds()[place(rng, height // 8, width // 8)][..., None] * hour.clouds * rng.uniform(0.2, 1)
    pale = np.array(hour.sky_low) * rng.uniform(0.85, 1.1) + 20 * (not hour.night)
    sky = np.clip((sky * (1 - cover) + pale * cover) * rng.uniform(0.97, 1.03, 3), 0, 255).astype(np.uint8)
    canvas.colour.paste(Image.fromarray(sky).resize((width, height), Image.Resampling.BILINEAR))
    canvas.facts.paste((*SKY, 255), (0, 0, *canvas.facts.size))


def paint_band(canvas: Canvas, band: Band, colour: RGB) -> None:
    """A band in slices by depth, so that haze grows along it."""
    for near, far in zip(_STATIONS[-2::-1], _STATIONS[:0:-1], strict=True):
        canvas.depth = near
        canvas.ground.box((band.inner, near, band.outer, far), colour, band.skin)


def paint_marks(canvas: Canvas, lines: list[float], dashed: bool, colour: RGB) -> None:
    """Painted lines along the road, which are road."""
    length, step = (3.0, 7.5) if dashed else (7.0, 7.0)
    start = canvas.rng.uniform(1, 6)
    for right in lines:
        for ahead in np.arange(start, 60, step).tolist():
            canvas.ground.box((right - 0.08, ahead, right + 0.08, ahead + length), colour)


def paint_slabs(canvas: Canvas, band: Band, colour: RGB) -> None:
    """Joints across a sidewalk and a kerb along its edges."""
    for ahead in np.arange(2.5, 26, 1.6).tolist():
        canvas.ground.box((band.inner, ahead, band.outer, ahead + 0.08), shade(colour, 0.8))
    for edge in (band.inner, band.outer):
        kerb = canvas.ground.pixels([(edge, ahead) for ahead in _STATIONS[2:12]])
        canvas.line(kerb, shade(colour, 1.2), 2)


def paint_crossing(canvas: Canvas, ahead: float, half: float, colour: RGB) -> None:
    """A side street with a zebra crossing before it."""
    canvas.depth = ahead
    canvas.ground.box((-60, ahead, 60, ahead + 7), colour, ROAD)
    for right in np.arange(-half + 0.4, half - 0.4, 1.1).tolist():
        canvas.ground.box((right, ahead - 3.2, right + 0.55, ahead - 0.6), (215, 215, 208))


def paint_building(canvas: Canvas, plot: Plot) -> None:
    """A house: the facade along the street, the front toward the camera, windows, doors or shops, perhaps a roof."""
    rng, style = canvas.rng, canvas.style
    storey, bay, fill = rng.uniform(2.8, 3.4), rng.uniform(2.2, 3.6), rng.uniform(0.35, 0.65)
    height, deep = storey * rng.integers(style.storeys[0], style.storeys[1] + 1) + 0.8, rng.uniform(8, 14)
    paint = tone(rng, style.facade_hue, style.facade_saturation, style.facade_value)
    pane, door = tone(rng, (0.5, 0.65), (0.05, 0.4), (0.15, 0.5)), tone(rng, (0, 1), (0, 0.6), (0.12, 0.5))
    skin = BUILDING._replace(material=BRICK if rng.random() < 0.2 else PLASTER)
    if rng.random() < 0.4:
        _paint_roof(canvas, plot, height, deep)
    dim = shade(paint, rng.uniform(0.75, 1.0))
    for face, length, colour in ((plot.flank(canvas), plot.far - plot.near, dim), (plot.front(canvas), deep, paint)):
        face.box((0, 0, length, height), colour, skin)
        face.box((0, height - 0.35, length, height), shade(colour, 0.75))
        across = np.arange(bay * 0.6, length - bay * 0.5, bay)
        floors = np.arange(storey * 1.3, height - storey * 0.4, storey)
        _paint_openings(face, across, floors, (bay * fill, storey * 0.55), pane)
        _paint_openings(face, np.arange(bay, length - 0.8, bay * 1.5), np.zeros(1), (1.4, 2.3), door)


def _paint_roof(canvas: Canvas, plot: Plot, eave: float, deep: float) -> None:
    colour = tone(canvas.rng, (0.0, 0.08), (0.2, 0.6), (0.25, 0.55))
    slope = Plane(canvas, (plot.side * plot.line, eave, plot.near), (0, 0, 1), (plot.side * deep / 2, 3, 0))
    slope.box((0, 0, plot.far - plot.near, 1), colour, BUILDING)
    plot.front(canvas).polygon([(0, eave), (deep / 2, eave + 3), (deep, eave)], shade(colour, 0.8), BUILDING)


def _paint_openings(
    face: Plane, across: np.ndarray, floors: np.ndarray, size: tuple[float, float], colour: RGB
) -> None:
    """A grid of windows or doors with bright sills, as far as they can be seen; some are lit at night."""
    canvas, night = face.canvas, face.canvas.mood.hour.night
    corners = np.array([(-size[0] / 2, 0), (size[0] / 2, 0), (size[0] / 2, size[1]), (-size[0] / 2, size[1])])
    centres = np.stack(np.meshgrid(across, floors), -1).reshape(-1, 1, 2)
    pixels = face.pixels(centres + corners)
    low, high = pixels.min(1), pixels.max(1)
    seen = (high > 0).all(1) & (low < canvas.colour.size).all(1) & (high - low > 3.5).all(1)
    lit = face.rng.random(len(pixels)) < (0.35 if night else 0)
    for quad, glow in zip(pixels[seen], lit[seen], strict=True):
        canvas.polygon(quad, (245, 215, 140) if glow else colour, BUILDING._replace(material=GLOW) if glow else None)
        canvas.line(quad[:2], shade(colour, 1.7), 1)


def paint_wall(canvas: Canvas, plot: Plot) -> None:
    """A masonry wall with courses, pillars and a coping."""
    rng, face, length = canvas.rng, plot.flank(canvas), plot.far - plot.near
    tall, colour = rng.uniform(1.4, 2.5), tone(rng, (0.0, 0.16), (0.02, 0.45), (0.3, 0.8))
    face.box((0, 0, length, tall), colour, WALL)
    for low in np.arange(0.3, tall - 0.2, 0.33).tolist():
        face.canvas.line(face.pixels([(0, low), (length, low)]), shade(colour, 0.72), 1.5)
    face.box((0, tall - 0.16, length, tall), shade(colour, 1.25), WALL)
    for ahead in np.arange(plot.far, plot.near, -3.5).tolist():
        canvas.stand(plot.side * plot.line, ahead).box((-0.22, 0, 0.22, tall + 0.2), shade(colour, 0.88), WALL)


def paint_fence(canvas: Canvas, plot: Plot) -> None:
    """Rails and pickets; what shows between them is fence, as in the real labels."""
    rng, face, length = canvas.rng, plot.flank(canvas), plot.far - plot.near
    tall, colour = rng.uniform(1.4, 2.6), tone(rng, (0, 1), (0, 0.45), (0.15, 0.9))
    face.box((0, 0, length, tall), None, FENCE)
    step = max(rng.uniform(0.35, 0.7), length / 45)
    wide = step * rng.uniform(0.18, 0.45)
    for along in np.arange(0, length - wide, step)[::-1].tolist():
        face.box((along, 0, along + wide, tall), colour)
    for low in (0.2, tall - 0.3):
        face.box((0, low, length, low + 0.14), shade(colour, 0.8))


def paint_hedge(canvas: Canvas, plot: Plot) -> None:
    rng, tall = canvas.rng, canvas.rng.uniform(1.0, 2.6)
    colour = tone(rng, canvas.style.leaf_hue, (0.25, 0.75), (0.2, 0.55))
    plot.flank(canvas).box((0, 0, plot.far - plot.near, tall), shade(colour, 0.85), HEDGE)
    plot.front(canvas).box((0, 0, 2, tall), colour, HEDGE)
    for ahead in np.linspace(plot.far, plot.near, 9).tolist():
        tuft = canvas.stand(plot.side * plot.line, ahead)
        tuft.disc((0, tall * 0.85), 0.5, shade(colour, rng.uniform(0.8, 1.2)), HEDGE)
