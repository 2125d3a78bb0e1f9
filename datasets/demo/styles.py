"""The look of each domain: its camera, light, picture and street. All domains share the shapes of objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

RGB = tuple[int, int, int]
Range = tuple[float, float]
Tone = tuple[Range, Range, Range]  # ranges of hue, saturation and value, each from 0 to 1


class Hour(NamedTuple):
    """The light at a time of day."""

    gain: tuple[float, float, float]  # factors of red, green and blue
    zenith: RGB  # colour of the sky overhead
    haze: RGB  # colour of the sky at the horizon
    shadow: float  # strength of the shadows, from 0 to 1
    night: bool = False  # whether lamps are lit


HOURS = (
    Hour((1.05, 1.03, 0.98), (80, 140, 215), (190, 215, 235), shadow=0.5),  # day
    Hour((0.95, 0.98, 1.02), (165, 172, 182), (205, 208, 212), shadow=0.2),  # overcast
    Hour((0.88, 0.68, 0.58), (95, 95, 150), (245, 170, 105), shadow=0.4),  # dusk
    Hour((0.46, 0.47, 0.56), (14, 18, 38), (46, 46, 66), shadow=0.2, night=True),
)


@dataclass(frozen=True, kw_only=True)
class Style:
    """What one domain looks like. Each image draws its own values from the ranges."""

    # Camera: metres above the ground; focal length in image widths; horizon in image heights from the top
    elevation: Range = (1.2, 1.6)
    focal: Range = (0.55, 0.7)
    horizon: Range = (0.4, 0.5)
    bonnet: float = 0.15  # probability that the camera's own car is in view
    # Light and weather
    hours: tuple[float, ...] = (6, 3, 2, 0.5)  # weights of day, overcast, dusk and night
    fog: Range = (0.1, 0.5)
    rain: float = 0.0  # probability
    # Picture
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    contrast: Range = (0.9, 1.1)
    saturation: float = 1.0
    texture: float = 1.0  # strength
    zoom: float = 1.0  # of the texture
    noise: float = 4.0  # standard deviation, in grey levels
    blur: Range = (0.0, 0.5)  # radius in pixels
    # Street
    lanes: int = 2  # at most, each way
    left_hand: bool = False  # traffic keeps to the left
    borders: tuple[float, ...] = (5, 0.7, 0.8, 2)  # weights of building, wall, fence and hedge
    people: float = 6  # mean number in an image
    cycles: float = 2
    storeys: tuple[int, int] = (2, 6)
    facade: Tone = ((0.02, 0.16), (0.05, 0.4), (0.35, 0.9))
    soil: Tone = ((0.08, 0.24), (0.15, 0.55), (0.35, 0.6))
    leaf: Tone = ((0.2, 0.36), (0.25, 0.75), (0.2, 0.6))


STYLES = {
    # A game: sharp, warm and vivid, with tall houses.
    "gtav": Style(
        elevation=(1.4, 2.2), hours=(6, 2, 2, 1), rain=0.05, tint=(1.06, 1.0, 0.88), contrast=(1.25, 1.5),
        saturation=1.3, texture=1.3, noise=2, blur=(0, 0.2), people=4, storeys=(2, 9),
    ),
    # A simple renderer: clean and smooth, seen from higher up.
    "synthia": Style(
        elevation=(1.8, 3.6), horizon=(0.3, 0.46), bonnet=0, fog=(0.05, 0.3), tint=(0.98, 1.0, 1.06), texture=0.3,
        zoom=1.8, noise=1, blur=(0, 0.2), facade=((0, 1), (0, 0.3), (0.4, 0.85)),
        leaf=((0.22, 0.4), (0.25, 0.75), (0.2, 0.6)),
    ),
    # India: dusty and warm, low houses, left-hand traffic, many people and two-wheelers.
    "idd": Style(
        hours=(7, 4, 2, 0), fog=(0.4, 1.2), tint=(1.14, 1.0, 0.76), contrast=(0.75, 1.0), saturation=0.85,
        texture=1.3, zoom=0.8, noise=6, blur=(0.3, 1.0), left_hand=True, borders=(4, 1.2, 0.9, 3), people=8, cycles=5,
        storeys=(1, 4), facade=((0, 1), (0.1, 0.5), (0.35, 0.9)), soil=((0.06, 0.12), (0.15, 0.55), (0.35, 0.6)),
        leaf=((0.15, 0.32), (0.25, 0.75), (0.2, 0.6)),
    ),
    # Germany: one camera, pale and greenish, mostly overcast.
    "cityscapes": Style(
        elevation=(1.2, 1.5), focal=(0.6, 0.72), bonnet=1, hours=(3, 8, 0, 0), tint=(0.9, 1.06, 0.97),
        contrast=(0.6, 0.8), saturation=0.5, zoom=0.8, blur=(0.3, 0.7), people=8, storeys=(3, 5),
    ),
    # United States: through a windscreen by day and by night, in all weather.
    "bdd100k": Style(
        focal=(0.58, 0.8), horizon=(0.42, 0.54), bonnet=0.5, hours=(5, 3, 2, 5), fog=(0.1, 0.7), rain=0.25,
        tint=(0.86, 0.9, 0.95), contrast=(0.9, 1.2), saturation=0.8, noise=9, blur=(0.3, 1.2), lanes=3,
        people=4, storeys=(1, 7),
    ),
    # The world: any camera, any weather, any place.
    "mapillary": Style(
        elevation=(1.2, 2.6), focal=(0.45, 0.85), horizon=(0.36, 0.56), fog=(0, 0.9), rain=0.08, contrast=(0.7, 1.3),
        texture=1.2, zoom=0.9, noise=7, blur=(0, 1), lanes=3, borders=(4, 0.9, 1.0, 3.5), storeys=(1, 7),
        facade=((0, 1), (0.05, 0.6), (0.3, 0.95)), leaf=((0.08, 0.4), (0.25, 0.75), (0.2, 0.6)),
    ),
}  # fmt: skip
