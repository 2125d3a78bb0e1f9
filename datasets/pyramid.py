"""One image in several sizes."""

from dataclasses import dataclass

from PIL import Image
from PIL.Image import Resampling
from torch import Tensor

from datasets.transforms import to_tensor


@dataclass(frozen=True)
class Pyramid:
    """The further sizes in which an image is evaluated."""

    scales: tuple[float, ...] = ()
    resample: Resampling = Resampling.BILINEAR

    def __call__(self, image: Image.Image) -> list[Tensor]:
        """The image at each scale, 3,h,w uint8."""
        return [to_tensor(image.resize(scaled(image.size, scale), self.resample)) for scale in self.scales]


def scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Width and height at a scale, rounded down to whole pixels, at least one."""
    return max(1, int(size[0] * scale)), max(1, int(size[1] * scale))
