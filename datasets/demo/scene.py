"""A street scene by rules and chance: sky, ground, then everything that stands there, painted from far to near."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from PIL import Image

from datasets.demo.camera import CIRCLE, Camera, Plane, photograph, shade, tone
from datasets.demo.objects import FIGURES, VEHICLES, Vehicle
from datasets.demo.styles import RGB, Style

_STATIONS = (1 + 139 * np.linspace(0, 1, 16) ** 3).tolist()  # metres ahead, closer together near the camera
_STRIPS = (("sidewalk",), ("sidewalk", "terrain"), ("terrain", "sidewalk"), ("terrain",))  # from the kerb outward
_STARS = (*VEHICLES, "motorcycle", "bicycle", "wall", "fence")
_KERB = dict.fromkeys(("street lamp", "traffic light", "traffic sign", "tree"), 1.0)  # shares of what stands there
_BORDERS = ("building", "wall", "fence", "vegetation")
Things = Iterator[tuple[float, Callable[[], None]]]  # depth in metres and what paints it; the deepest comes first


class Road(NamedTuple):
    """A street seen from above. Metres are right of its middle."""

    lanes: int  # each way
    half: float  # from the middle to the kerb
    strips: list[tuple[str, float, float]]  # class, inner and outer edge of the ground beside the road
    borders: dict[int, float]  # side (-1 left, 1 right) -> metres from the middle to the border


def draw_scene(style: Style, rng: np.random.Generator, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Draw one scene of a size (H,W): image H,W,3 uint8 and train ids H,W uint8 (255 = ignore)."""
    road = _plan_road(style, rng)
    camera = Camera(style, rng, size, road.half * (-0.5 if style.left_hand else 0.5))
    _paint_sky(camera)
    _paint_ground(camera, road)
    star = _STARS[rng.integers(len(_STARS))]  # stands near the camera, so that rare classes are seen well
    things = [*_traffic(camera, road, star), *_roadsides(camera, road), *_borders(camera, road, star)]
    for depth, paint in sorted(things, key=lambda thing: -thing[0]):
        camera.depth = depth
        paint()
    if rng.random() < style.bonnet:
        _paint_bonnet(camera)
    return photograph(camera)


def _plan_road(style: Style, rng: np.random.Generator) -> Road:
    lanes = int(rng.integers(1, style.lanes + 1))
    half = lanes * rng.uniform(3.2, 3.8)
    road = Road(lanes, half, [], {-1: half, 1: half})
    for side in (-1, 1):
        for name in _STRIPS[rng.integers(len(_STRIPS))]:
            inner = road.borders[side]
            road.borders[side] += rng.uniform(2.5, 6.0)
            road.strips.append((name, side * inner, side * road.borders[side]))
    return road


def _paint_sky(camera: Camera) -> None:
    """A gradient from the top to where the ground begins."""
    height = int(camera.project((0, 0, _STATIONS[-2]))[1])
    ramp = np.linspace(0, 1, height)[:, None, None] ** 1.3
    sky = np.array(camera.hour.zenith) * (1 - ramp) + np.array(camera.hour.haze) * ramp
    camera.picture.paste(Image.fromarray(sky.astype(np.uint8)).resize((camera.width, height)))


def _paint_ground(camera: Camera, road: Road) -> None:
    """Terrain, the strips beside the road with their kerbs, the road and its markings."""
    rng, ground, soil = camera.rng, Plane(camera, (0, 0, 0), (1, 0, 0), (0, 0, 1)), tone(camera.rng, *camera.style.soil)
    paving, asphalt = tone(rng, (0.02, 0.16), (0, 0.2), (0.45, 0.75)), tone(rng, (0, 1), (0, 0.08), (0.28, 0.46))
    _paint_strip(ground, "terrain", -300, 300, soil)
    for name, inner, outer in road.strips:
        colour = paving if name == "sidewalk" else shade(soil, rng.uniform(0.85, 1.15))
        _paint_strip(ground, name, inner, outer, colour)
        _paint_strip(ground, name, inner, inner + 0.15 * np.sign(inner), shade(paving, 1.2))
    _paint_strip(ground, "road", -road.half, road.half, asphalt)
    marking = tone(rng, (0.1, 0.2), (0, 0.1), (0.7, 0.92))
    for right in np.linspace(-road.half, road.half, 2 * road.lanes + 1)[1:-1].tolist():
        for ahead in np.arange(rng.uniform(1, 6), 60, 7.5).tolist():
            ground.box((right - 0.08, ahead, right + 0.08, ahead + (3 if right else 7)), marking)
    if rng.random() < 0.35:  # a zebra crossing
        ahead = rng.uniform(8, 30)
        for right in np.arange(0.4 - road.half, road.half - 0.4, 1.1).tolist():
            ground.box((right, ahead, right + 0.55, ahead + 2.6), marking)


def _paint_strip(ground: Plane, name: str, inner: float, outer: float, colour: RGB) -> None:
    """Ground along the street, in slices, because haze grows with depth."""
    for near, far in list(pairwise(_STATIONS))[::-1]:
        ground.camera.depth = near
        ground.box((inner, near, outer, far), colour, name)


def _traffic(camera: Camera, road: Road, star: str) -> Things:
    """Vehicles, two-wheelers and a few people, lane by lane, perhaps behind a vehicle that blocks the road."""
    rng, style = camera.rng, camera.style
    shares = {"car": 16, "truck": 1.4, "bus": 1.2, "train": 0.4, "person": style.people / 5}
    shares |= {"motorcycle": style.cycles, "bicycle": style.cycles}
    start = 5.0
    if star in shares:
        shares[star] += 6
    if star in VEHICLES and rng.random() < 0.4:
        start = rng.uniform(12, 18)
        yield _thing(camera, star, rng.normal(0, 2), start, rng.choice((-0.5, 0.5)) * np.pi + rng.normal(0, 0.2))
    for lane in range(2 * road.lanes):
        right = (lane + 0.5) * road.half / road.lanes - road.half
        yaw = np.pi * ((right < 0) != style.left_hand)
        yield from _row(camera, shares, right, start + rng.uniform(1, 8), 4 + rng.exponential(8), yaw)


def _roadsides(camera: Camera, road: Road) -> Things:
    """Street furniture and trees along the kerbs, and people behind them."""
    walkers = {"person": camera.style.people, "bicycle": 1.0, "tree": 1.0}
    for side in (-1, 1):
        yield from _row(camera, _KERB, side * (road.half + 0.7), camera.rng.uniform(6, 14), 8)
        start, gap = camera.rng.uniform(5, 14), 60 / camera.style.people
        yield from _row(camera, walkers, side * (road.half + 2), start, gap)


def _row(camera: Camera, shares: dict[str, float], right: float, start: float, gap: float, yaw: float = 0.0) -> Things:
    """Things one behind the other, at random distances and in random order."""
    rng, weights, ahead = camera.rng, np.array(list(shares.values())), start
    while ahead < 70:
        name = str(rng.choice(list(shares), p=weights / weights.sum()))
        length = VEHICLES[name][0].size[0] if name in VEHICLES else 1.0
        yield _thing(camera, name, right + rng.normal(0, 0.3), ahead + length / 2, yaw + rng.normal(0, 0.04))
        ahead += length + gap * rng.uniform(0.2, 1.8)


def _thing(camera: Camera, name: str, right: float, ahead: float, yaw: float) -> tuple[float, Callable[[], None]]:
    if name in VEHICLES:
        return ahead, Vehicle(camera, name, right, ahead, yaw).paint
    return ahead, partial(FIGURES[name], Plane(camera, (right, 0, ahead), (1, 0, 0)))


def _borders(camera: Camera, road: Road, star: str) -> Things:
    """Houses, walls, fences and hedges along both sides; a house or trees stand behind the low ones."""
    rng, weights = camera.rng, np.array(camera.style.borders)
    for side, border in road.borders.items():
        near = rng.uniform(2, 5)
        while near < 80:
            name = star if star in _BORDERS and near < 6 else rng.choice(_BORDERS, p=weights / weights.sum())
            length, behind = rng.uniform(8, 18), border + rng.uniform(3, 8)
            far = near + length
            if name != "building":
                yield far, partial(_paint_barrier, Plane(camera, (side * border, 0, near), (0, 0, 1)), length, name)
            if name == "building" or (name != "vegetation" and rng.random() < 0.5):
                right = border if name == "building" else behind
                yield far + 0.2, partial(_paint_building, Plane(camera, (side * right, 0, near), (0, 0, 1)), length)
            else:
                for ahead in rng.uniform(max(near, 6), far, 3).tolist():
                    _, paint = _thing(camera, "tree", side * rng.uniform(border + 1.5, behind + 2), ahead, 0)
                    yield far + 0.1, paint
            near = far + rng.choice((0, 4))


def _paint_building(flank: Plane, length: float) -> None:
    """A house with rows of windows on its side along the street and on its front toward the camera."""
    camera, rng, style = flank.camera, flank.rng, flank.camera.style
    front = Plane(camera, flank.origin, (np.sign(flank.origin[0]), 0, 0))
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
    camera = face.camera
    pixels = face.pixels(corners + np.array([(0, 0), (0, 1), (1, 1), (1, 0)]) * size)
    low, high = pixels.min(1), pixels.max(1)
    visible = (high > 0).all(1) & (low < camera.picture.size).all(1) & (high - low > 3).all(1)
    for window in pixels[visible]:
        lit = camera.hour.night and camera.rng.random() < 0.35
        camera.polygon(window, camera.lamp((245, 215, 140)) if lit else colour)


def _paint_barrier(flank: Plane, length: float, name: str) -> None:
    """A wall with a coping, a fence of pickets with a rail, or a hedge with tufts."""
    rng = flank.rng
    height, colour = rng.uniform(1.2, 2.6), tone(rng, (0, 1), (0, 0.4), (0.2, 0.9))
    if name == "vegetation":
        colour = tone(rng, *flank.camera.style.leaf)
        for along in np.linspace(length, 0, 20).tolist():
            flank.disc((along, height * 0.9), 0.5, shade(colour, rng.uniform(0.8, 1.2)), name)
    # What shows between the pickets is fence too, as in the real labels.
    flank.box((0, 0, length, height), None if name == "fence" else colour, name)
    if name != "vegetation":
        flank.box((0, height - 0.16, length, height), shade(colour, 1.2))
    if name == "fence":
        for along in np.arange(0, length, rng.uniform(0.4, 0.7))[::-1].tolist():
            flank.box((along, 0, along + 0.16, height), colour)


def _paint_bonnet(camera: Camera) -> None:
    """The hood of the camera's own car."""
    (width, height), colour = camera.picture.size, tone(camera.rng, (0, 1), (0, 0.3), (0.08, 0.6))
    camera.depth, rise = 0, camera.rng.uniform(0.05, 0.12) * height
    camera.polygon(CIRCLE * (0.7 * width, rise) + (0.5 * width, height), colour, "void")
    camera.polygon(CIRCLE * (0.3 * width, 0.7 * rise) + (0.4 * width, height), shade(colour, 1.25))
