"""A blur that keeps edges."""

from itertools import product

import numpy as np

LEAST = 1e-3  # neighbours with a smaller weight by distance are left out


def bilateral(image: np.ndarray, *, sigma: float) -> np.ndarray:
    """The image (H,W,3 uint8) with each pixel as the weighted mean of its neighbours.

    A neighbour d pixels away whose colour is c away weighs exp(-d^2 / (2 sigma^2) - c^2 / (2 s^2)), s being the
    standard deviation of the image (Tomasi and Manduchi 1998).  There are no neighbours beyond the border.
    """
    x = image.astype(np.float32)
    similar = -1 / (2 * max(float(x.var()), 1.0))  # in a nearly even image the value does not matter
    total, weights = x.copy(), np.ones(x.shape[:2], np.float32)
    reach = sigma * np.sqrt(-2 * np.log(LEAST))
    sideways = range(-int(reach), int(reach) + 1)
    for down, right in product(range(int(reach) + 1), sideways):
        if (down, right) <= (0, 0) or np.hypot(down, right) > reach:  # one of two opposite steps suffices
            continue
        here, there = windows(down, right, x.shape)
        difference = x[there] - x[here]
        weight = np.exp(similar * np.einsum("hwc,hwc->hw", difference, difference))
        weight *= np.exp(-(down**2 + right**2) / (2 * sigma**2))
        for one, other in ((here, there), (there, here)):  # they are neighbours of each other
            total[one] += weight[..., None] * x[other]
            weights[one] += weight
    return (total / weights[..., None]).round().astype(np.uint8)


def windows(down: int, right: int, shape: tuple[int, ...]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The pixels that have a neighbour at this step, and these neighbours."""
    height, width = shape[:2]
    left = slice(max(0, -right), min(width, width - right))
    return (slice(0, height - down), left), (slice(down, height), slice(left.start + right, left.stop + right))
