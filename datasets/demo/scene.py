"""A street scene by rules and chance: sky, ground, then everything that stands there, painted from far to near."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise, product

import numpy as np
from PIL import Image, ImageOps

from datasets.demo.camera import CIRCLE, Camera, Plane, photograph, shade, tone
from datasets.demo.objects import BODIES, PAINTERS
from datasets.demo.styles import Style

_STATIONS = (1 + 139 * np.linspace(0, 1, 16) ** 3).tolist()  # metres ahead, closer together near the camera
_BORDERS = ("building", "wall", "fence", "vegetation")
Object = tuple[float, Callable[[], None]]  # depth in metres and what paints it
Objects = Iterator[Object]


def draw_scene(style: Style, rng: np.random.Generator, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Draw one scene of a size (H,W): image H,W,3 uint8 and train ids H,W uint8 (255 = ignore)."""
    lanes = int(rng.integers(1, 3))  # each way
    half = lanes * rng.uniform(3.2, 3.8)  # metres from the middle of the road to the kerb
    camera = Camera(style, rng, size, half / 2)
    sky = Image.linear_gradient("L").resize((camera.width, int(camera.project((0, 0, _STATIONS[-2]))[1])))
    camera.picture.paste(ImageOps.colorize(sky, camera.zenith, camera.haze))
    border = _paint_ground(camera, lanes, half)
    objects = [*_traffic(camera, lanes, half), *_roadsides(camera, half), *_borders(camera, border)]
    for depth, paint in sorted(objects, key=lambda item: -item[0]):
        camera.depth = depth
        paint()
    if rng.random() < style.bonnet:  # of the camera's own car
        camera.depth, size = 0, np.array([0.7 * camera.width, rng.uniform(0.05, 0.12) * camera.height])
        bonnet = CIRCLE * size + (0.5 * camera.width, camera.height)
        camera.polygon(bonnet, tone(rng, (0, 1), (0, 0.3), (0.08, 0.6)), "void")
    return photograph(camera)


def _paint_ground(camera: Camera, lanes: int, half: float) -> float:
    """Paint the ground; return the distance in metres from the middle of the road to the border on each side."""
    rng, ground, border = camera.rng, Plane(camera, (0, 0, 0), (1, 0, 0), (0, 0, 1)), half
    soil = tone(rng, (0.07, 0.24), (0.15, 0.55), (0.35, 0.6))
    paving, asphalt = tone(rng, (0.02, 0.16), (0, 0.2), (0.45, 0.75)), tone(rng, (0, 1), (0, 0.08), (0.28, 0.46))
    strips = [("terrain", -300, 300, soil), ("road", -half, half, asphalt)]
    for name in rng.permutation(("sidewalk", "terrain")).tolist():
        inner, border = border, border + rng.uniform(1.5, 5)
        colour = paving if name == "sidewalk" else shade(soil, rng.uniform(0.85, 1.15))
        for side in (-1, 1):
            strips.append((name, side * inner, side * border, colour))
            strips.append((name, side * inner, side * (inner + 0.15), shade(paving, 1.2)))  # a kerb
    for name, inner, outer, colour in strips:
        for near, far in list(pairwise(_STATIONS))[::-1]:  # in slices, because haze grows with depth
            camera.depth = near
            ground.box((inner, near, outer, far), colour, name)
    marking = tone(rng, (0.1, 0.2), (0, 0.1), (0.7, 0.92))
    for right in np.linspace(-half, half, 2 * lanes + 1)[1:-1].tolist():
        for ahead in np.arange(rng.uniform(1, 6), 60, 7.5).tolist():
            ground.box((right - 0.08, ahead, right + 0.08, ahead + (3 if right else 7)), marking)
    return border


def _traffic(camera: Camera, lanes: int, half: float) -> Objects:
    """Vehicles, two-wheelers and a few people, lane by lane, perhaps behind a vehicle that blocks the road."""
    rng, start = camera.rng, 5.0
    shares = {"car": 10, "truck": 1.8, "bus": 1.6, "train": 0.8}
    shares |= dict.fromkeys(("person", "motorcycle", "bicycle"), 1.2 + camera.style.crowd)
    if rng.random() < 0.2:
        start = rng.uniform(12, 18)
        yield _object(
            camera, str(rng.choice(list(BODIES))), rng.normal(0, 2), start, rng.integers(2) * np.pi + rng.normal(0, 0.2)
        )
    for lane in range(2 * lanes):
        right = (lane + 0.5) * half / lanes - half
        yaw = np.pi * (-0.5 if right < 0 else 0.5)
        yield from _row(camera, shares, right, start + rng.uniform(1, 8), 4 + rng.exponential(8), yaw)


def _roadsides(camera: Camera, half: float) -> Objects:
    """Street furniture, trees and people along the kerbs."""
    shares = {"person": 4 * camera.style.crowd, "bicycle": 0.7, "vegetation": 1.5}
    shares |= dict.fromkeys(("pole", "traffic light", "traffic sign"), 1.3)
    for side in (-1, 1):
        yield from _row(camera, shares, side * (half + 1.5), camera.rng.uniform(4, 9), 3.5)


def _row(camera: Camera, shares: dict[str, float], right: float, start: float, gap: float, yaw: float = 0) -> Objects:
    """Objects one behind the other, at random distances and in random order."""
    rng, weights, ahead = camera.rng, np.array(list(shares.values())), start
    while ahead < 70:
        name = rng.choice(list(shares), p=weights / weights.sum())
        length = BODIES[name].size[0] if name in BODIES else 1.0
        yield _object(camera, name, right + rng.normal(0, 0.3), ahead + length / 2, yaw + rng.normal(0, 0.04))
        ahead += length + gap * rng.uniform(0.2, 1.8)


def _object(camera: Camera, name: str, right: float, ahead: float, yaw: float = 0) -> Object:
    """An object in its place. A yaw of 0 is to the right, pi / 2 is straight ahead; only vehicles turn."""
    along = (np.cos(yaw), 0, np.sin(yaw)) if name in BODIES else (1, 0, 0)
    return ahead, partial(PAINTERS[name], Plane(camera, (right, 0, ahead), along), name)


def _borders(camera: Camera, border: float) -> Objects:
    """Houses, walls, fences and hedges along both sides; trees stand behind the low ones."""
    rng = camera.rng
    for side in (-1, 1):
        near = rng.uniform(2, 5)
        while near < 80:
            far, name = near + rng.uniform(8, 18), rng.choice(_BORDERS, p=(0.55, 0.13, 0.13, 0.19))
            flank = Plane(camera, (side * border, 0, near), (0, 0, 1))
            if name == "building":
                yield far, partial(_paint_building, flank, far - near)
            else:
                yield far, partial(_paint_barrier, flank, far - near, name)
                for ahead in rng.uniform(max(near, 6), far, 3).tolist():
                    yield far + 0.1, _object(camera, "vegetation", side * (border + rng.uniform(1.5, 8)), ahead)[1]
            near = far + rng.choice((0, 4))


def _paint_building(flank: Plane, length: float) -> None:
    """A house with rows of windows on its side along the street and on its front toward the camera."""
    camera, rng, style = flank.camera, flank.rng, flank.camera.style
    front = Plane(camera, flank.origin, (np.sign(flank.origin[0]), 0, 0))
    storey, bay, part = rng.uniform(2.8, 3.4), rng.uniform(2.2, 3.6), rng.uniform(0.35, 0.65)
    height = storey * rng.integers(style.storeys[0], style.storeys[1] + 1) + 0.8
    colour, pane = tone(rng, style.facade, (0.05, 0.45), (0.35, 0.9)), tone(rng, (0.5, 0.65), (0.05, 0.4), (0.15, 0.5))
    for face, wide, light in ((flank, length, rng.uniform(0.75, 1.0)), (front, rng.uniform(8, 14), 1.0)):
        face.box((0, 0, wide, height), shade(colour, light), "building")
        face.box((0, height - 0.35, wide, height), shade(colour, 0.7))
        if flank.origin[2] < 60:  # farther away, windows are too small to be seen
            for left, low in product(np.arange(bay * 0.4, wide - bay * part, bay), np.arange(1.2, height - 2, storey)):
                face.box((left, low, left + bay * part, low + storey * 0.5), pane)


def _paint_barrier(flank: Plane, length: float, name: str) -> None:
    """A wall, a fence of pickets with a rail, or a hedge with tufts."""
    rng, height, colour = flank.rng, flank.rng.uniform(1.2, 2.6), tone(flank.rng, (0, 1), (0, 0.4), (0.2, 0.9))
    if name == "vegetation":
        colour = tone(rng, flank.camera.style.leaf, (0.25, 0.75), (0.2, 0.6))
    # What shows between the pickets is fence too, as in the real labels.
    flank.box((0, 0, length, height), None if name == "fence" else colour, name)
    flank.box((0, height - 0.16, length, height), shade(colour, 0.9 if name == "vegetation" else 1.2))
    for along in np.arange(length, 0, -0.5).tolist():
        if name == "fence":
            flank.box((along, 0, along + 0.16, height), colour)
        if name == "vegetation":
            flank.disc((along, height), 0.5, shade(colour, rng.uniform(0.8, 1.2)), name)
