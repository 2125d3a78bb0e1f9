"""What stands in a street: painters that take a plane, whose origin is the foot of the object, and its class."""

from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from datasets.demo.camera import CIRCLE, Plane, shade, tone
from datasets.demo.styles import RGB

_DARK, _GLASS, _GREY, _SHADOW = (26, 26, 30), (38, 46, 56), (130, 130, 134), (50, 50, 54)
_HEADLAMP, _TAIL_LAMP, _LIGHTS = (540, 520, 450), (430, 40, 50), ((80, 470, 250), (530, 380, 60), (530, 80, 60))
_CLOTH, _SKIN = ((0, 1), (0, 0.8), (0.08, 0.9)), ((0.04, 0.09), (0.3, 0.6), (0.3, 0.9))
_COAT = [(-0.28, 0.9), (-0.24, 1.4), (-0.08, 1.5), (0.08, 1.5), (0.24, 1.4), (0.28, 0.9), (0.2, 0.7), (-0.2, 0.7)]
_FRAME = [(-0.55, 0.36), (-0.2, 0.85), (0.4, 0.82), (0, 0.32), (-0.2, 0.85), (0, 0.32), (-0.55, 0.36)]
_MOTOR = [(-0.98, 0.7), (-0.9, 0.88), (-0.1, 0.8), (0.4, 1.0), (0.6, 0.75), (0.35, 0.24), (-0.4, 0.24)]
_SIGNS = (((200, 30, 35), (240, 240, 240)), ((235, 235, 240), (25, 70, 165)))  # rim and face
_BOARDS = (CIRCLE, [(-1, -0.7), (0, 1), (1, -0.7)], [(-1.7, -0.7), (-1.7, 0.7), (1.7, 0.7), (1.7, -0.7)])
_COACH = ((0, 0.12), (0, 0.5), (0.02, 1), (0.98, 1), (1, 0.5), (1, 0.12))


class Body(NamedTuple):
    """The form of a vehicle. All but the size is in parts of the length and the height."""

    size: tuple[float, float, float]  # length, width and height in metres
    outline: tuple[tuple[float, float], ...]  # side view from the tail over the roof to the nose
    glass: tuple[int, ...]  # edges of the outline that are windows
    windows: tuple[int, float, float, float, float]  # of a side: number, left, low, right, high
    wheels: tuple[float, ...]


BODIES = {
    "car": Body(
        size=(4.4, 1.8, 1.5),
        outline=((0, 0.17), (0, 0.6), (0.08, 0.65), (0.2, 1), (0.57, 1), (0.74, 0.63), (0.98, 0.52), (1, 0.17)),
        glass=(2, 4), windows=(2, 0.18, 0.64, 0.64, 0.93), wheels=(0.19, 0.81),
    ),
    "truck": Body(
        size=(8.0, 2.4, 3.4),
        outline=((0, 0.25), (0, 1), (0.7, 1), (0.72, 0.76), (0.93, 0.76), (0.99, 0.42), (1, 0.1)),
        glass=(4,), windows=(1, 0.8, 0.44, 0.92, 0.7), wheels=(0.1, 0.24, 0.86),
    ),
    "bus": Body((11.0, 2.5, 3.1), _COACH, glass=(1, 3), windows=(7, 0.03, 0.5, 0.97, 0.86), wheels=(0.2, 0.8)),
    "train": Body((22.0, 2.6, 3.6), _COACH, glass=(1, 3), windows=(14, 0.03, 0.48, 0.97, 0.8), wheels=()),
}  # fmt: skip


def _paint_vehicle(figure: Plane, name: str) -> None:
    """The shadow of a vehicle, then those of its faces that look at the camera, the farthest first."""
    camera, rng, body = figure.camera, figure.rng, BODIES[name]
    colour = tone(rng, (0, 1), (0, rng.choice((0.1, 0.85))), (0.15, 0.95))
    length, width, height = body.size
    along, up = figure.axes * [[length], [height]]
    across = np.array([-along[2], 0, along[0]]) * width / 2 / length  # to the left
    tail = figure.origin - along / 2
    Plane(camera, tail, along, across).polygon([(0, -1.2), (0, 1.2), (1, 1.2), (1, -1.2)], _SHADOW)
    left, right = (Plane(camera, tail + side * across, along, up) for side in (1, -1))
    corners = [side.origin + np.array(body.outline) @ side.axes for side in (left, right)]
    after, count = np.roll(corners, -1, 1), len(body.outline)
    faces = [*np.stack([corners[0], after[0], after[1], corners[1]], 1), corners[0][::-1], corners[1]]
    details = {
        0: partial(_paint_end, Plane(camera, tail, across, up), name, _TAIL_LAMP),
        count - 2: partial(_paint_end, Plane(camera, tail + along, across, up), name, _HEADLAMP),
        count: partial(_paint_side, left, name),
        count + 1: partial(_paint_side, right, name),
    }
    for face in sorted(range(count + 2), key=lambda face: -faces[face][:, 2].mean()):
        pixels = camera.project(faces[face])
        x, y = pixels.T
        if np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)) > 0:  # clockwise, as for an eye outside the body
            paint = shade(colour, 0.9 if face >= count else 1.1)
            camera.polygon(pixels, _GLASS if face in body.glass else paint, name)
            if face in details:
                details[face]()


def _paint_side(side: Plane, name: str) -> None:
    """The windows and wheels of a vehicle."""
    body = BODIES[name]
    number, left, low, right, high = body.windows
    for start, stop in pairwise(np.linspace(left, right, number + 1).tolist()):
        side.box((start + 0.008, low, stop - 0.008, high), _GLASS)
    wheel = (0.33 if name == "car" else 0.5) / np.array([body.size[0], body.size[2]])
    for along in body.wheels:
        side.polygon(CIRCLE * wheel + (along, wheel[1]), _DARK, name)
        side.polygon(CIRCLE * wheel / 2 + (along, wheel[1]), _GREY)


def _paint_end(end: Plane, name: str, lamp: RGB) -> None:
    """The two lamps of a vehicle, and the wheels below them."""
    low, metre = BODIES[name].outline[0][1], 1 / BODIES[name].size[2]
    for left in (-0.92, 0.62):
        end.box((left, 0, left + 0.3, low), _DARK, name)
        end.box((left, 0.55 * metre, left + 0.3, 0.75 * metre), lamp)


def _paint_person(figure: Plane, name: str) -> None:
    stride, trousers = figure.rng.uniform(0.05, 0.35), tone(figure.rng, *_CLOTH)
    figure.axes *= figure.rng.uniform(0.8, 1.1)
    for foot in (-stride, stride):
        figure.line([(0, 0.85), (foot, 0)], 0.2, shade(trousers, 0.9 + foot), name)
    figure.polygon(_COAT, tone(figure.rng, *_CLOTH), name)
    figure.disc((0, 1.62), 0.14, tone(figure.rng, *_SKIN), name)


def _paint_cycle(figure: Plane, name: str) -> None:
    """A bicycle or a motorcycle, seen obliquely from its left or its right, usually with a rider."""
    rng, coat, colour = figure.rng, tone(figure.rng, *_CLOTH), tone(figure.rng, *_CLOTH)
    figure.axes[0] *= rng.choice((-1.0, 1.0)) * rng.uniform(0.6, 1)
    for hub in (-0.58, 0.58):  # what shows between the spokes is bicycle too, as in the real labels
        figure.disc((hub, 0.36), 0.38, None if name == "bicycle" else _GREY, name)
        figure.line(CIRCLE * 0.33 + (hub, 0.36), 0.07 if name == "bicycle" else 0.16, _DARK)
    if name == "bicycle":
        figure.line(_FRAME, 0.08, colour, name)
    else:
        figure.polygon(_MOTOR, colour, name)
    figure.line([(0.58, 0.36), (0.42, 1.0), (0.28, 1.05)], 0.08, _GREY, name)
    if rng.random() < 0.75:
        figure.line([(-0.2, 0.9), (0.18, 0.8), (0.04, 0.3)], 0.2, shade(colour, 0.6), "rider")
        figure.line([(-0.2, 0.85), (0.04, 1.4)], 0.34, coat, "rider")
        figure.line([(0.04, 1.35), (0.34, 1.05)], 0.13, shade(coat, 0.8), "rider")
        figure.disc((0.12, 1.6), 0.15, tone(figure.rng, *_SKIN), "rider")


def _paint_tree(figure: Plane, name: str) -> None:
    """A trunk, and a crown of discs, dark ones below and bright ones above."""
    rng, tall, wide = figure.rng, figure.rng.uniform(3, 8), figure.rng.uniform(1.0, 2.6)
    leaf = tone(rng, figure.camera.style.leaf, (0.25, 0.75), (0.2, 0.6))
    figure.line([(0, 0), (0, tall * 0.75)], 0.35, tone(rng, (0.04, 0.12), (0.1, 0.5), (0.15, 0.45)), name)
    for part in np.linspace(0, 1, 8).tolist():
        turn, spread = rng.uniform(0, 2 * np.pi), wide * 0.6 * (1 - 0.6 * part)
        centre = (np.cos(turn) * spread, np.sin(turn) * spread + tall * 0.8 + wide * 0.4 * (part - 0.5))
        figure.disc(centre, wide * rng.uniform(0.4, 0.6), shade(leaf, 0.6 + 0.6 * part), name)


def _paint_post(figure: Plane, name: str) -> None:
    """A street lamp with an arm over the road, or a post with a traffic light or a traffic sign."""
    rng, colour = figure.rng, tone(figure.rng, (0, 1), (0, 0.15), (0.2, 0.7))
    height = rng.uniform(5, 8) if name == "pole" else rng.uniform(2.1, 3.0)
    figure.line([(0, 0), (0, height)], 0.18, colour, "pole")
    if name == "pole":
        arm = -2 * np.sign(figure.origin[0])
        figure.line([(0, height), (arm * 0.2, height + 0.4), (arm, height + 0.5)], 0.18, colour, "pole")
    elif name == "traffic light":
        figure.box((-0.28, height - 0.1, 0.28, height + 1.3), _DARK, name)
        on = rng.integers(3)
        for place, lamp in enumerate(_LIGHTS):
            figure.disc((0, height + 0.2 + 0.4 * place), 0.16, lamp if place == on else shade(lamp, 0.12))
    else:
        board = np.array(_BOARDS[rng.integers(len(_BOARDS))]) * rng.uniform(0.42, 0.6)
        for part, paint in zip((1, 0.7), _SIGNS[rng.integers(len(_SIGNS))], strict=True):
            figure.polygon(board * part + np.array((0, height)), paint, name)


PAINTERS = dict.fromkeys(BODIES, _paint_vehicle) | dict.fromkeys(("bicycle", "motorcycle"), _paint_cycle)
PAINTERS |= dict.fromkeys(("pole", "traffic light", "traffic sign"), _paint_post)
PAINTERS |= {"person": _paint_person, "vegetation": _paint_tree}
