"""One row of parameters per domain: what differs between the six looks; shapes and classes are shared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from datasets.demo.textures import RGB, Range


class Hour(NamedTuple):
    """A time of day: gain per channel, sky from top to horizon, strength of shadows, whether lamps are lit."""

    gain: tuple[float, float, float]
    sky_top: RGB
    sky_low: RGB
    shadow: float
    clouds: float
    night: bool = False


HOURS = {
    "day": Hour((1.05, 1.03, 0.98), (80, 140, 215), (190, 215, 235), 0.5, 0.5),
    "overcast": Hour((0.95, 0.98, 1.02), (165, 172, 182), (205, 208, 212), 0.18, 0.35),
    "dusk": Hour((0.88, 0.68, 0.58), (95, 95, 150), (245, 170, 105), 0.4, 0.6),
    "night": Hour((0.42, 0.43, 0.52), (14, 18, 38), (46, 46, 66), 0.2, 0.1, night=True),
}


@dataclass(frozen=True)
class Style:
    """The look of one domain; ranges are drawn from per image, weights need not sum to one."""

    name: str
    # camera: metres above ground, parts of the image width and height
    elevation: Range
    focal: Range
    horizon: Range
    # light and weather
    hours: dict[str, float]
    fog: Range
    rain: float
    # picture
    tint: tuple[float, float, float]
    contrast: Range
    gamma: Range
    saturation: float
    vignette: float
    texture: float
    zoom: float
    noise: float
    blur: Range
    bonnet: float
    # street
    sides: dict[str, float]
    lanes: tuple[int, int]
    gap: float  # mean metres between vehicles of a lane
    fleet: dict[str, float]
    people: float
    riders: float
    greens: float  # trees and bushes per side
    furniture: float  # poles, lights and signs per side
    # things
    facade_hue: Range
    facade_saturation: Range
    facade_value: Range
    storeys: tuple[int, int]
    road_value: Range
    soil_hue: Range
    leaf_hue: Range
    left_hand: bool = False


_FLEET = {"car": 10, "truck": 1.8, "bus": 1.6, "train": 0.7}
_SIDES = {"building": 5, "wall": 0.7, "fence": 0.8, "green": 1.5, "open": 0.7}

_ROWS = (
    Style(
        name="gtav",
        elevation=(1.4, 2.2), focal=(0.5, 0.62), horizon=(0.42, 0.5),
        hours={"day": 6, "overcast": 2, "dusk": 2, "night": 1}, fog=(0.1, 0.5), rain=0.05,
        tint=(1.04, 1.0, 0.93), contrast=(1.15, 1.4), gamma=(0.95, 1.1), saturation=1.3, vignette=0.1,
        texture=1.2, zoom=1.0, noise=2.0, blur=(0.0, 0.2), bonnet=0.15,
        sides=_SIDES, lanes=(1, 2), gap=14, fleet=_FLEET, people=4, riders=1.2, greens=3, furniture=2.2,
        facade_hue=(0.02, 0.16), facade_saturation=(0.05, 0.4), facade_value=(0.35, 0.9), storeys=(2, 9),
        road_value=(0.3, 0.45), soil_hue=(0.08, 0.2), leaf_hue=(0.2, 0.36),
    ),
    Style(
        name="synthia",
        elevation=(1.8, 3.6), focal=(0.55, 0.75), horizon=(0.3, 0.46),
        hours={"day": 6, "overcast": 3, "dusk": 1.5, "night": 0.4}, fog=(0.05, 0.3), rain=0.0,
        tint=(0.98, 1.0, 1.04), contrast=(0.9, 1.1), gamma=(0.8, 1.0), saturation=1.0, vignette=0.0,
        texture=0.4, zoom=1.8, noise=1.0, blur=(0.0, 0.2), bonnet=0.0,
        sides=_SIDES, lanes=(1, 2), gap=12, fleet=_FLEET, people=6, riders=1.5, greens=3, furniture=1.8,
        facade_hue=(0.0, 1.0), facade_saturation=(0.0, 0.3), facade_value=(0.4, 0.85), storeys=(2, 6),
        road_value=(0.34, 0.5), soil_hue=(0.1, 0.28), leaf_hue=(0.22, 0.4),
    ),
    Style(
        name="idd",
        elevation=(1.3, 1.8), focal=(0.52, 0.66), horizon=(0.38, 0.52),
        hours={"day": 7, "overcast": 4, "dusk": 1.5}, fog=(0.4, 1.2), rain=0.0,
        tint=(1.12, 1.0, 0.8), contrast=(0.8, 1.0), gamma=(0.85, 1.05), saturation=0.85, vignette=0.15,
        texture=1.2, zoom=0.8, noise=6.0, blur=(0.3, 1.0), bonnet=0.1,
        sides={"building": 4, "wall": 1.2, "fence": 0.9, "green": 2, "open": 1.5},
        lanes=(1, 2), gap=10, fleet={"car": 8, "truck": 2.5, "bus": 1.5, "train": 0.4},
        people=8, riders=5, greens=3, furniture=2.2,
        facade_hue=(0.0, 1.0), facade_saturation=(0.1, 0.5), facade_value=(0.35, 0.9), storeys=(1, 4),
        road_value=(0.35, 0.5), soil_hue=(0.06, 0.12), leaf_hue=(0.15, 0.32), left_hand=True,
    ),
    Style(
        name="cityscapes",
        elevation=(1.2, 1.5), focal=(0.6, 0.72), horizon=(0.4, 0.48),
        hours={"day": 3, "overcast": 8}, fog=(0.1, 0.5), rain=0.0,
        tint=(0.95, 1.06, 0.98), contrast=(0.65, 0.85), gamma=(0.85, 1.1), saturation=0.55, vignette=0.2,
        texture=0.9, zoom=0.8, noise=4.0, blur=(0.3, 0.7), bonnet=1.0,
        sides=_SIDES, lanes=(1, 2), gap=13, fleet=_FLEET, people=8, riders=2, greens=3.5, furniture=2.8,
        facade_hue=(0.02, 0.14), facade_saturation=(0.03, 0.3), facade_value=(0.4, 0.85), storeys=(3, 5),
        road_value=(0.3, 0.4), soil_hue=(0.12, 0.24), leaf_hue=(0.2, 0.34),
    ),
    Style(
        name="bdd100k",
        elevation=(1.2, 1.6), focal=(0.58, 0.8), horizon=(0.42, 0.54),
        hours={"day": 5, "overcast": 3, "dusk": 2, "night": 5}, fog=(0.1, 0.7), rain=0.25,
        tint=(0.97, 1.0, 1.03), contrast=(0.9, 1.2), gamma=(0.8, 1.1), saturation=0.9, vignette=0.35,
        texture=0.8, zoom=1.2, noise=8.0, blur=(0.3, 1.2), bonnet=0.5,
        sides=_SIDES, lanes=(1, 3), gap=12, fleet=_FLEET, people=4, riders=1.2, greens=3, furniture=2.2,
        facade_hue=(0.0, 0.16), facade_saturation=(0.05, 0.45), facade_value=(0.3, 0.8), storeys=(1, 7),
        road_value=(0.28, 0.45), soil_hue=(0.08, 0.22), leaf_hue=(0.18, 0.34),
    ),
    Style(
        name="mapillary",
        elevation=(1.2, 2.6), focal=(0.45, 0.85), horizon=(0.36, 0.56),
        hours={"day": 6, "overcast": 4, "dusk": 2, "night": 0.8}, fog=(0.0, 0.9), rain=0.08,
        tint=(1.0, 1.0, 1.0), contrast=(0.75, 1.3), gamma=(0.75, 1.25), saturation=1.0, vignette=0.15,
        texture=1.1, zoom=0.9, noise=5.0, blur=(0.0, 1.0), bonnet=0.2,
        sides={"building": 4, "wall": 0.9, "fence": 1.0, "green": 2.5, "open": 1.2},
        lanes=(1, 3), gap=13, fleet=_FLEET, people=6, riders=2, greens=3.5, furniture=2.8,
        facade_hue=(0.0, 1.0), facade_saturation=(0.05, 0.6), facade_value=(0.3, 0.95), storeys=(1, 7),
        road_value=(0.25, 0.5), soil_hue=(0.05, 0.28), leaf_hue=(0.08, 0.4),
    ),
)  # fmt: skip

STYLES: dict[str, Style] = {row.name: row for row in _ROWS}


class Mood(NamedTuple):
    """The light and weather of one picture; the sun throws shadows `sun` metres (right, ahead) per metre of height."""

    hour: Hour
    fog: float
    rain: bool
    sun: tuple[float, float]


def draw_mood(style: Style, rng: np.random.Generator) -> Mood:
    hours, weights = list(style.hours), np.array(list(style.hours.values()))
    hour = HOURS[hours[rng.choice(len(hours), p=weights / weights.sum())]]
    rain = bool(rng.random() < style.rain)
    return Mood(hour, rng.uniform(*style.fog) + 0.5 * rain, rain, (rng.uniform(-0.9, 0.9), rng.uniform(-0.5, 0.4)))
