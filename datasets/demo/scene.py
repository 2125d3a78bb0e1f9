"""A street scene by rule and chance: what stands where, painted from far to near."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from datasets.demo import shapes, street, vehicles
from datasets.demo.canvas import SUPERSAMPLING, VOID, Camera, Canvas
from datasets.demo.street import ROAD, SIDEWALK, TERRAIN, Band, Plot
from datasets.demo.styles import Style, draw_mood
from datasets.demo.textures import shade, tone
from datasets.demo.weather import develop

_VEHICLES = {
    "car": (vehicles.paint_car, 4.5),
    "truck": (vehicles.paint_truck, 8.0),
    "bus": (vehicles.paint_bus, 11.0),
    "train": (vehicles.paint_train, 26.0),
}
_CYCLES = {"motorcycle": shapes.paint_motorcycle, "bicycle": shapes.paint_bicycle}
_BARRIERS = {"wall": street.paint_wall, "fence": street.paint_fence, "green": street.paint_hedge}
_STARS = ("car", "truck", "bus", "train", "motorcycle", "bicycle", "wall", "fence")
_FURNITURE = (shapes.paint_lamp, shapes.paint_traffic_light, shapes.paint_sign, shapes.paint_bin)
_STRIPS = ((SIDEWALK,), (SIDEWALK, TERRAIN), (TERRAIN, SIDEWALK), (TERRAIN,))  # from the kerb outward


class Footprint(NamedTuple):
    """The ground under a thing in metres: its middle, half its width and depth, and how tall it stands."""

    right: float
    ahead: float
    wide: float
    deep: float
    tall: float

    def overlaps(self, other: Footprint) -> bool:
        across, along = abs(self.right - other.right), abs(self.ahead - other.ahead)
        return across < self.wide + other.wide and along < self.deep + other.deep


class Thing(NamedTuple):
    """Something to paint at a depth; its footprint throws a shadow and keeps others away."""

    depth: float
    paint: Callable[[], None]
    foot: Footprint


class Plan(NamedTuple):
    """A street from above: half its road, lanes each way, strips of ground, border line per side, a side street."""

    half: float
    lanes: int
    bands: list[Band]
    lines: dict[int, float]
    crossing: float | None


def draw_scene(
    style: Style, rng: np.random.Generator, size: tuple[int, int] = (256, 512)
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one scene: image H,W,3 uint8 and train ids H,W uint8 (255 = ignore)."""
    return Scene(style, rng, size).draw()


def _draw_plan(style: Style, rng: np.random.Generator) -> Plan:
    lanes = int(rng.integers(style.lanes[0], style.lanes[1] + 1))
    half = lanes * rng.uniform(3.0, 3.6) + rng.uniform(0.2, 1.5)
    bands, lines = [], {}
    for side in (-1, 1):
        edge = half
        for skin in _STRIPS[rng.choice(len(_STRIPS), p=(0.25, 0.3, 0.25, 0.2))]:
            outer = edge + rng.uniform(2.5, 6.0)
            bands.append(Band(skin, side * edge, side * outer))
            edge = outer
        lines[side] = edge
    return Plan(half, lanes, bands, lines, rng.uniform(14, 40) if rng.random() < 0.35 else None)


def _draw_camera(style: Style, plan: Plan, rng: np.random.Generator, size: tuple[int, int]) -> Camera:
    height, width = (SUPERSAMPLING * side for side in size)
    lane = plan.half * rng.uniform(0.3, 0.65) * (-1 if style.left_hand else 1)
    focal, horizon = rng.uniform(*style.focal) * width, rng.uniform(*style.horizon) * height
    return Camera(height, width, focal, horizon, rng.uniform(*style.elevation), lane, rng.uniform(-0.003, 0.003))


def _apart(things: Iterator[Thing]) -> list[Thing]:
    """The things that stand free of all before them."""
    kept: list[Thing] = []
    for thing in things:
        if not any(thing.foot.overlaps(other.foot) for other in kept):
            kept.append(thing)
    return kept


class Scene:
    """One scene under way; its star, drawn by lot, stands near the camera, so that rare classes are seen well."""

    def __init__(self, style: Style, rng: np.random.Generator, size: tuple[int, int]) -> None:
        self.style, self.rng, self.plan = style, rng, _draw_plan(style, rng)
        self.canvas = Canvas(_draw_camera(style, self.plan, rng, size), style, draw_mood(style, rng), rng)
        self.star = _STARS[rng.integers(len(_STARS))]

    def draw(self) -> tuple[np.ndarray, np.ndarray]:
        canvas = self.canvas
        street.paint_sky(canvas)
        self._paint_ground()
        things = [*_apart(self._objects()), *self._borders()]
        canvas.darken(self._shadows(things), canvas.mood.hour.shadow)
        for thing in sorted(things, key=lambda thing: -thing.depth):
            canvas.depth = thing.depth
            thing.paint()
        if self.rng.random() < self.style.bonnet:
            self._paint_bonnet()
        return develop(canvas)

    def _paint_ground(self) -> None:
        rng, plan, canvas, style = self.rng, self.plan, self.canvas, self.style
        soil = tone(rng, style.soil_hue, (0.15, 0.55), (0.35, 0.6))
        road = tone(rng, (0, 1), (0, 0.08), style.road_value)
        paved, paint = tone(rng, (0.02, 0.16), (0, 0.2), (0.45, 0.75)), tone(rng, (0.1, 0.2), (0, 0.1), (0.7, 0.92))
        street.paint_band(canvas, Band(TERRAIN, -300, 300), soil)
        for band in plan.bands:
            street.paint_band(canvas, band, paved if band.skin == SIDEWALK else shade(soil, rng.uniform(0.85, 1.15)))
            if band.skin == SIDEWALK:
                street.paint_slabs(canvas, band, paved)
        street.paint_band(canvas, Band(ROAD, -plan.half, plan.half), road)
        street.paint_marks(canvas, [0.0], bool(rng.random() < 0.5), paint)
        street.paint_marks(canvas, np.linspace(-plan.half, plan.half, 2 * plan.lanes + 1).tolist()[1:-1], True, paint)
        if plan.crossing:
            street.paint_crossing(canvas, plan.crossing, plan.half, shade(road, 1.05))

    def _paint_bonnet(self) -> None:
        """The hood of the camera's own car, which is ignored."""
        canvas, colour = self.canvas, tone(self.rng, (0, 1), (0, 0.3), (0.08, 0.6))
        height, width = canvas.camera.height, canvas.camera.width
        rise, turns = height * self.rng.uniform(0.05, 0.12), np.linspace(0, np.pi, 24)
        arch = np.stack([np.cos(turns), -np.sin(turns)], 1)
        canvas.polygon(arch * (0.7 * width, rise) + (0.5 * width, height), colour, VOID)
        canvas.polygon(arch * (0.3 * width, 0.7 * rise) + (0.4 * width, height), shade(colour, 1.25))

    def _shadows(self, things: list[Thing]) -> np.ndarray:
        """Each footprint, and the footprint moved along the sun's direction by the height: (3N,4,2) pixels."""
        feet = np.array([thing.foot for thing in things])[:, None, None]
        moved = feet[..., 4:] * np.array([0.0, 0.5, 1.0])[:, None, None] * self.canvas.mood.sun
        corners = feet[..., :2] + feet[..., 2:4] * np.array([(-1, -1), (-1, 1), (1, 1), (1, -1)]) + moved
        corners[..., 1] = np.maximum(corners[..., 1], 2.0)
        return self.canvas.ground.pixels(corners.reshape(-1, 4, 2))

    def _borders(self) -> Iterator[Thing]:
        """Houses, walls, fences, hedges and gaps along both sides, none on the side street."""
        kinds, weights = list(self.style.sides), np.array(list(self.style.sides.values()))
        start = self.plan.crossing - 1 if self.plan.crossing else 1e9
        for side, line in self.plan.lines.items():
            near = self.rng.uniform(2, 5)
            while near < 80:
                far = near + self.rng.uniform(8, 18)
                if near < start < far:
                    far = start
                kind = str(self.rng.choice(kinds, p=weights / weights.sum()))
                if self.star in ("wall", "fence") and near < 6:
                    kind = self.star
                yield from self._border(Plot(side, line, near, far), kind)
                near = start + 9 if far == start else far

    def _border(self, plot: Plot, kind: str) -> Iterator[Thing]:
        rng, middle, half = self.rng, (plot.near + plot.far) / 2, (plot.far - plot.near) / 2
        if kind == "building" or (kind in ("wall", "fence") and rng.random() < 0.4):
            house = plot._replace(line=plot.line + (0 if kind == "building" else rng.uniform(3, 8)))
            foot = Footprint(plot.side * (house.line + 5), middle, 5.0, half, 7.0)
            yield Thing(plot.far + 0.2, partial(street.paint_building, self.canvas, house), foot)
        elif kind != "open" or rng.random() < 0.5:
            for _ in range(int(rng.integers(2, 4))):
                right = plot.side * (plot.line + rng.uniform(1.5, 9))
                ahead = rng.uniform(max(plot.near, 6), plot.far + 3)
                tree = self._figure(shapes.paint_tree, right, ahead, 1.2)
                yield tree._replace(depth=max(ahead, plot.far + 0.1))
        if kind in _BARRIERS:
            foot = Footprint(plot.side * plot.line, middle, 0.3, half, 1.6)
            yield Thing(plot.far, partial(_BARRIERS[kind], self.canvas, plot), foot)

    def _objects(self) -> Iterator[Thing]:
        """All that stands free, the star first."""
        rng, half = self.rng, self.plan.half
        if self.star in _VEHICLES:
            length, across = _VEHICLES[self.star][1], rng.random() < 0.5
            yaw = (rng.choice((-1, 1)) * np.pi / 2 if across else rng.choice((0, np.pi))) + rng.normal(0, 0.15)
            right, ahead = rng.uniform(-half, half) * 0.8, rng.uniform(9, 16) + length / (4 if across else 2)
            yield self._vehicle(self.star, right, ahead, yaw)
        for index in range(2 * (self.star in _CYCLES) + 1 + rng.poisson(self.style.riders)):
            star = self.star in _CYCLES and index < 2
            kind, ridden = self.star if star else str(rng.choice(list(_CYCLES))), bool(rng.random() < 0.7)
            right = rng.uniform(-half, half) if ridden else rng.choice((-1, 1)) * (half + rng.uniform(0.4, 1.5))
            ahead = rng.uniform(5, 11) if star else rng.uniform(6, 30)
            yield self._figure(partial(_CYCLES[kind], ridden=ridden), right, ahead, 0.7)
        yield from self._traffic()
        yield from self._sidewalks()

    def _traffic(self) -> Iterator[Thing]:
        """Vehicles lane by lane, perhaps parked ones along the kerbs."""
        rng, style, plan = self.rng, self.style, self.plan
        kinds, weights = list(style.fleet), np.array(list(style.fleet.values()))
        for lane in range(2 * plan.lanes):
            right = (lane + 0.5) * plan.half / plan.lanes - plan.half
            ahead = rng.uniform(6, 12) + rng.exponential(style.gap / 3)
            parked = lane in (0, 2 * plan.lanes - 1) and rng.random() < 0.5
            while ahead < 75:
                kind = "car" if parked else str(rng.choice(kinds, p=weights / weights.sum()))
                length, comes = _VEHICLES[kind][1], (right < 0) != style.left_hand
                yaw = np.pi * comes + rng.normal(0, 0.04)
                yield self._vehicle(kind, right + rng.normal(0, 0.2), ahead + length / 2, yaw)
                ahead += length + (1.5 if parked else 5) + rng.exponential(style.gap * (0.4 if parked else 1))

    def _vehicle(self, kind: str, right: float, ahead: float, yaw: float) -> Thing:
        paint, length = _VEHICLES[kind]
        along, rest = abs(np.cos(yaw)), length / 2 - 1
        foot = Footprint(right, ahead, 1 + (1 - along) * rest, 1 + along * rest, 1.2)
        return Thing(ahead, partial(paint, self.canvas, np.array([right, ahead]), yaw), foot)

    def _figure(
        self, paint: Callable[..., None], right: float, ahead: float, wide: float, *, mirror: bool = False
    ) -> Thing:
        figure = self.canvas.stand(right, ahead)
        figure.turn(-1 if mirror else 1)
        return Thing(ahead, partial(paint, figure), Footprint(right, ahead, wide, min(wide, 0.3), 1.7))

    def _sidewalks(self) -> Iterator[Thing]:
        """People, some of them on the road, and what stands between the kerb and the border."""
        rng, half, lines = self.rng, self.plan.half, self.plan.lines
        for _ in range(rng.poisson(self.style.people)):
            side = int(rng.choice((-1, 1)))
            right = rng.uniform(-half, half) if rng.random() < 0.15 else side * rng.uniform(half + 0.5, lines[side])
            yield self._figure(shapes.paint_person, right, rng.uniform(6, 34), 0.3)
        for side, line in lines.items():
            for _ in range(rng.poisson(self.style.greens)):
                paint = shapes.paint_tree if rng.random() < 0.6 else shapes.paint_bush
                yield self._figure(paint, side * rng.uniform(half + 0.8, line + 1), rng.uniform(8, 50), 1.0)
            for _ in range(1 + rng.poisson(self.style.furniture)):
                paint = _FURNITURE[rng.choice(len(_FURNITURE), p=(0.28, 0.3, 0.34, 0.08))]
                right, ahead = side * (half + rng.uniform(0.3, 0.9)), rng.uniform(6, 36)
                yield self._figure(paint, right, ahead, 0.15, mirror=side > 0)
