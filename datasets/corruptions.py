"""The fifteen corruptions of images of Hendrycks and Dietterich (2019), by the package imagecorruptions."""

import zlib

import numpy as np
from PIL import Image

from utils.packages import need

SEVERITY = 3  # of 1 to 5
SEEDED = ("impulse_noise", "glass_blur")  # these take a seed of their own, the others NumPy's random numbers
REMEDY = "install it with `pip install scikit-image numba` and `pip install --no-deps imagecorruptions-imaug`"


def corruption_names() -> list[str]:
    """UsageError if the package is missing."""
    return need("imagecorruptions", "--corruptions", remedy=REMEDY).get_corruption_names()


def corrupted(image: Image.Image, corruption: str, name: str) -> Image.Image:
    """The corrupted image; what is random depends only on the corruption and on the name of the image."""
    package = need("imagecorruptions", "--corruptions", remedy=REMEDY)
    seed = zlib.crc32(f"{corruption} {name}".encode(errors="surrogateescape"))
    np.random.seed(seed)
    own = {"seed": seed} if corruption in SEEDED else {}
    return Image.fromarray(package.corrupt(np.asarray(image), SEVERITY, corruption, **own))
