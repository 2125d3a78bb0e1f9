"""The look of each domain: its camera, light, picture and street. All domains share the shapes of objects."""

from dataclasses import dataclass

RGB = tuple[int, int, int]
Range = tuple[float, float]

HOURS = (  # gains of red, green and blue; colours of the sky overhead and of the haze at the horizon
    ((1.05, 1.03, 0.98), (80, 140, 215), (190, 215, 235)),  # day
    ((0.95, 0.98, 1.02), (165, 172, 182), (205, 208, 212)),  # overcast
    ((0.88, 0.68, 0.58), (95, 95, 150), (245, 170, 105)),  # dusk
    ((0.46, 0.47, 0.56), (14, 18, 38), (46, 46, 66)),  # night
)


@dataclass(frozen=True, kw_only=True)
class Style:
    """What one domain looks like. Each image draws its own values from the ranges."""

    # Camera: metres above the ground; horizon in image heights from the top
    elevation: Range = (1.2, 1.6)
    horizon: Range = (0.4, 0.5)
    bonnet: float = 0.15  # probability that the camera's own car is in view
    # Light and weather
    hours: tuple[float, ...] = (0.5, 0.3, 0.2, 0)  # probabilities of day, overcast, dusk and night
    fog: Range = (0.1, 0.5)
    # Picture
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    contrast: float = 1.0
    saturation: float = 1.0
    texture: float = 1.0  # strength
    noise: float = 4.0  # standard deviation, in grey levels
    blur: float = 0.5  # radius in pixels, at most
    # Street
    crowd: float = 1.0  # factor of the number of people and two-wheelers
    storeys: tuple[int, int] = (2, 6)
    facade: Range = (0.02, 0.16)  # hue
    leaf: Range = (0.2, 0.36)  # hue


STYLES = {
    # A game: sharp, warm and vivid, with tall houses.
    "gtav": Style(
        elevation=(1.4, 2.2), hours=(0.55, 0.2, 0.2, 0.05), tint=(1.06, 1.0, 0.88), contrast=1.4, saturation=1.3,
        texture=1.3, noise=2, blur=0.2, crowd=0.7, storeys=(2, 9),
    ),
    # A simple renderer: clean and smooth, seen from higher up.
    "synthia": Style(
        elevation=(1.8, 3.6), horizon=(0.3, 0.46), bonnet=0, fog=(0.05, 0.3), tint=(0.98, 1.0, 1.06), texture=0.3,
        noise=1, blur=0.2, facade=(0.5, 0.9), leaf=(0.24, 0.4),
    ),
    # India: dusty and warm, low houses, many people and two-wheelers.
    "idd": Style(
        hours=(0.6, 0.3, 0.1, 0), fog=(0.4, 1.2), tint=(1.14, 1.0, 0.76), contrast=0.9, saturation=0.85, texture=1.3,
        noise=6, blur=1.0, crowd=2, storeys=(1, 4), facade=(0, 1), leaf=(0.15, 0.32),
    ),
    # Germany: one camera, pale and greenish, mostly overcast.
    "cityscapes": Style(
        elevation=(1.2, 1.5), bonnet=1, hours=(0.3, 0.7, 0, 0), tint=(0.85, 1.06, 0.95), contrast=0.6, saturation=0.5,
        blur=0.7, crowd=1.4, storeys=(3, 5),
    ),
    # United States: through a windscreen by day and by night, hazy and noisy.
    "bdd100k": Style(
        horizon=(0.42, 0.54), bonnet=0.5, hours=(0.35, 0.2, 0.1, 0.35), fog=(0.1, 0.7), tint=(0.86, 0.9, 0.95),
        saturation=0.8, noise=9, blur=1.2, crowd=0.7, storeys=(1, 7),
    ),
    # The world: any camera, any weather, any place.
    "mapillary": Style(
        elevation=(1.2, 2.6), horizon=(0.36, 0.56), hours=(0.4, 0.3, 0.15, 0.15), fog=(0, 1.2), contrast=0.8,
        texture=1.2, noise=9, blur=1.3, storeys=(1, 7), facade=(0, 1), leaf=(0.08, 0.4),
    ),
}  # fmt: skip

# Drawn only if the user names them: Switzerland in bad weather and by night, and a careful renderer.
FURTHER = {
    "acdc": Style(elevation=(1.2, 1.5), hours=(0, 1, 0, 0), saturation=0.6, storeys=(2, 6)),
    "dark_zurich": Style(elevation=(1.2, 1.5), hours=(0, 0, 0, 1), noise=8, storeys=(3, 6)),
    "muses": Style(elevation=(1.4, 1.7), hours=(0.5, 0.5, 0, 0), tint=(1.02, 1.0, 0.95), noise=6, storeys=(2, 5)),
    "urbansyn": Style(bonnet=0, fog=(0.1, 0.4), noise=1, blur=0.2, crowd=1.4, storeys=(3, 6)),
}
CONDITIONS = {"fog": {"fog": (1.5, 2.5)}, "night": {"hours": (0, 0, 0, 1)}}  # what they change in a style
