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
        sizes = [tuple(max(1, int(side * scale)) for side in image.size) for scale in self.scales]
        return [to_tensor(image.resize(size, self.resample)) for size in sizes]
