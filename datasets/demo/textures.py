"""Colours and materials; a material is a tile of periodic noise, made once per process from a fixed seed."""

from __future__ import annotations

import colorsys
from functools import lru_cache

import numpy as np

RGB = tuple[int, int, int]
Range = tuple[float, float]
# Materials, as rows of the bank; what is GLOW shines by itself at night.
SMOOTH, ASPHALT, PAVING, PLASTER, BRICK, MASONRY, LEAF, GRASS, CLOTH, CORRUGATED, GLOW = range(11)
DARK, GLASS = (26, 26, 30), (38, 46, 56)
_TILE = 256


def tone(rng: np.random.Generator, hue: Range, saturation: Range, value: Range) -> RGB:
    """A random colour from ranges of hue (0 to 1, wraps), saturation and value."""
    red, green, blue = colorsys.hsv_to_rgb(rng.uniform(*hue) % 1, rng.uniform(*saturation), rng.uniform(*value))
    return int(red * 255), int(green * 255), int(blue * 255)


def shade(colour: RGB, factor: float) -> RGB:
    red, green, blue = (min(255, int(channel * factor)) for channel in colour)
    return red, green, blue


@lru_cache(maxsize=1)
def bank() -> np.ndarray:
    """Relative brightness of every material, in the order of their numbers: M,256,256 around 0."""
    rng = np.random.default_rng(0)
    white, small, medium, large = (_blobs(rng, size, size) for size in (0.3, 1.2, 3.0, 12.0))
    still = np.zeros_like(white)
    asphalt = 0.06 * white + 0.04 * _blobs(rng, 0.8, 4) + 0.03 * _blobs(rng, 4, 24)
    paving = 0.03 * white + 0.06 * _blobs(rng, 0.3, 8) + 0.03 * large
    plaster = 0.02 * white + 0.05 * medium + 0.07 * large
    leaf = 0.2 * small + 0.17 * medium + 0.1 * large
    grass = 0.14 * _blobs(rng, 1.6, 0.6) + 0.06 * medium + 0.06 * large
    cloth = 0.05 * small + 0.05 * medium
    ribs = np.broadcast_to(0.16 * np.cos(np.arange(_TILE) * 2 * np.pi / 8), still.shape)
    bricks, masonry = _bricks(rng, 4, 8, 0.08), _bricks(rng, 7, 15, 0.2)
    tiles = [still, asphalt, paving, plaster, bricks, masonry, leaf, grass, cloth, ribs, still]
    return np.stack(tiles).astype(np.float32)


@lru_cache(maxsize=1)
def clouds() -> np.ndarray:
    """Cloud cover 0 to 1: 256,256."""
    rng = np.random.default_rng(1)
    return np.clip(0.5 * _blobs(rng, 6, 15) + 0.25 * _blobs(rng, 2, 5), 0, 1).astype(np.float32)


@lru_cache(maxsize=1)
def grain() -> np.ndarray:
    """Noise of a sensor, of unit variance: 256,256."""
    return np.random.default_rng(2).standard_normal((_TILE, _TILE)).astype(np.float32)


def place(rng: np.random.Generator, height: int, width: int, zoom: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Indices H,1 and W that cut a window, enlarged by `zoom`, from a random place of a periodic tile."""
    rows, columns = ((np.arange(side) / zoom + rng.integers(_TILE)).astype(int) % _TILE for side in (height, width))
    return rows[:, None], columns


def _blobs(rng: np.random.Generator, rows: float, columns: float) -> np.ndarray:
    """White noise smoothed to blobs of about that size in pixels, periodic, of unit variance: 256,256."""
    fall = [np.exp(-2 * (np.pi * size * np.fft.fftfreq(_TILE)) ** 2) for size in (rows, columns)]
    noise = np.fft.ifft2(np.fft.fft2(rng.standard_normal((_TILE, _TILE))) * np.outer(*fall)).real
    return noise / noise.std()


def _bricks(rng: np.random.Generator, high: int, wide: int, contrast: float) -> np.ndarray:
    """Rows of bricks, each of its own brightness, in pale mortar: 256,256."""
    row, column = np.mgrid[:_TILE, :_TILE]
    course = row // high
    shifted = (column + (course % 2) * wide // 2) % _TILE
    mortar = (row % high == 0) | (shifted % wide == 0)
    return np.where(mortar, 2 * contrast, contrast * rng.standard_normal((_TILE, _TILE))[course, shifted // wide])
