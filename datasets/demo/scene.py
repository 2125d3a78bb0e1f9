"""A street scene by rules and chance: where everything stands. It is painted from far to near."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from datasets.demo import street
from datasets.demo.canvas import CIRCLE, Canvas, Plane, shade, tone
from datasets.demo.figures import FIGURES
from datasets.demo.photograph import photograph
from datasets.demo.street import Road
from datasets.demo.styles import Style
from datasets.demo.vehicles import VEHICLES, Vehicle

_STARS = (*VEHICLES, "motorcycle", "bicycle", "wall", "fence")
_KERB = {"street lamp": 1.0, "traffic light": 1.0, "traffic sign": 1.0, "tree": 1.0}  # shares of what stands there
_BORDERS = ("building", "wall", "fence", "vegetation")


class Thing(NamedTuple):
    """Something to paint."""

    depth: float  # metres; the deepest is painted first
    paint: Callable[[], None]


def draw_scene(
    style: Style, rng: np.random.Generator, size: tuple[int, int] = (256, 512)
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one scene: image H,W,3 uint8 and train ids H,W uint8 (255 = ignore)."""
    road = street.draw_road(style, rng)
    canvas = Canvas(style, rng, size, road.half * (-0.5 if style.left_hand else 0.5))
    street.paint_sky(canvas)
    street.paint_ground(canvas, road)
    star = _STARS[rng.integers(len(_STARS))]  # stands near the camera, so that rare classes are seen well
    things = [*_traffic(canvas, road, star), *_roadsides(canvas, road), *_borders(canvas, road, star)]
    for thing in sorted(things, key=lambda thing: -thing.depth):
        canvas.depth = thing.depth
        thing.paint()
    if rng.random() < style.bonnet:
        _paint_bonnet(canvas)
    return photograph(canvas)


def _traffic(canvas: Canvas, road: Road, star: str) -> Iterator[Thing]:
    """Vehicles, two-wheelers and a few people, lane by lane, perhaps behind a vehicle that blocks the road."""
    rng, style = canvas.rng, canvas.style
    shares = {"car": 16, "truck": 1.4, "bus": 1.2, "train": 0.4, "person": style.people / 5}
    shares |= {"motorcycle": style.cycles, "bicycle": style.cycles}
    start = 5.0
    if star in shares:
        shares[star] += 6
    if star in VEHICLES and rng.random() < 0.4:
        start = rng.uniform(12, 18)
        yield _thing(canvas, star, rng.normal(0, 2), start, rng.choice((-0.5, 0.5)) * np.pi + rng.normal(0, 0.2))
    for lane in range(2 * road.lanes):
        right = (lane + 0.5) * road.half / road.lanes - road.half
        yaw = np.pi * ((right < 0) != style.left_hand)
        yield from _row(canvas, shares, right, start + rng.uniform(1, 8), 4 + rng.exponential(8), yaw)


def _roadsides(canvas: Canvas, road: Road) -> Iterator[Thing]:
    """Street furniture and trees along the kerbs, and people behind them."""
    walkers = {"person": canvas.style.people, "bicycle": 1.0, "tree": 1.0}
    for side in (-1, 1):
        yield from _row(canvas, _KERB, side * (road.half + 0.7), canvas.rng.uniform(6, 14), 8, 0.0)
        start, gap = canvas.rng.uniform(5, 14), 60 / canvas.style.people
        yield from _row(canvas, walkers, side * (road.half + 2), start, gap, 0.0)


def _row(
    canvas: Canvas, shares: dict[str, float], right: float, start: float, gap: float, yaw: float
) -> Iterator[Thing]:
    """Things one behind the other, at random distances and in random order."""
    rng, weights, ahead = canvas.rng, np.array(list(shares.values())), start
    while ahead < 70:
        name = str(rng.choice(list(shares), p=weights / weights.sum()))
        length = VEHICLES[name][0].length if name in VEHICLES else 1.0
        yield _thing(canvas, name, right + rng.normal(0, 0.3), ahead + length / 2, yaw + rng.normal(0, 0.04))
        ahead += length + gap * rng.uniform(0.2, 1.8)


def _thing(canvas: Canvas, name: str, right: float, ahead: float, yaw: float) -> Thing:
    if name in VEHICLES:
        return Thing(ahead, Vehicle(canvas, name, right, ahead, yaw).paint)
    return Thing(ahead, partial(FIGURES[name], Plane(canvas, (right, 0, ahead), (1, 0, 0), (0, 1, 0))))


def _borders(canvas: Canvas, road: Road, star: str) -> Iterator[Thing]:
    """Houses, walls, fences and hedges along both sides; a house or trees stand behind the low ones."""
    rng, weights = canvas.rng, np.array(canvas.style.borders)
    for side, border in road.borders.items():
        near = rng.uniform(2, 5)
        while near < 80:
            name = star if star in _BORDERS and near < 6 else rng.choice(_BORDERS, p=weights / weights.sum())
            length, behind = rng.uniform(8, 18), border + rng.uniform(3, 8)
            far = near + length
            flank = Plane(canvas, (side * border, 0, near), (0, 0, 1), (0, 1, 0))
            if name != "building":
                yield Thing(far, partial(street.paint_barrier, flank, length, name))
                flank = Plane(canvas, (side * behind, 0, near), (0, 0, 1), (0, 1, 0))
            if name == "building" or (name != "vegetation" and rng.random() < 0.5):
                yield Thing(far + 0.2, partial(street.paint_building, flank, length))
            else:
                for ahead in rng.uniform(max(near, 6), far, 3).tolist():
                    tree = _thing(canvas, "tree", side * rng.uniform(border + 1.5, behind + 2), ahead, 0)
                    yield tree._replace(depth=far + 0.1)
            near = far + rng.choice((0, 4))


def _paint_bonnet(canvas: Canvas) -> None:
    """The hood of the camera's own car."""
    (width, height), colour = canvas.picture.size, tone(canvas.rng, (0, 1), (0, 0.3), (0.08, 0.6))
    canvas.depth, rise = 0, canvas.rng.uniform(0.05, 0.12) * height
    canvas.polygon(CIRCLE * (0.7 * width, rise) + (0.5 * width, height), colour, "void")
    canvas.polygon(CIRCLE * (0.3 * width, 0.7 * rise) + (0.4 * width, height), shade(colour, 1.25))
