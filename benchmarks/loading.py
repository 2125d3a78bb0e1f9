"""What the loading of training samples costs, compared with the decoding of their files.

Street scenes with the grain of photographs are drawn into a temporary folder in the form of each data set.  The floor
is Pillow's decoding of image and label.  Work and floor alternate on one core, on the same samples, in processor time.
"""

import tempfile
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path

from PIL import Image, ImageFilter

from benchmarks.frame import Case, Figures, Options, run_benchmark
from datasets import packed
from datasets.demo import STYLES, write_demo
from datasets.images import LabelledImages
from datasets.prepare.__main__ import main as prepare
from datasets.registry import spec
from datasets.sampling.loaders import Domains
from datasets.sampling.requests import Request
from datasets.transforms import Augmentation
from utils.options import COUNT, option

IMAGES, SAMPLES, CROP = 4, 12, 768
SMOOTH = ImageFilter.GaussianBlur(0.5)  # without it, the grain of the scenes compresses worse than that of photographs


@dataclass(frozen=True)
class LoadingOptions(Options):
    cases: tuple[str, ...] = option(tuple(STYLES), "which ones", flag="datasets", nargs="+", choices=tuple(STYLES))
    size: tuple[int, int] = option((1052, 1914), "of an image", type=COUNT, nargs=2, metavar=("HEIGHT", "WIDTH"))
    packed: str | None = option(None, "load packed copies instead of the files", choices=tuple(packed.FORMS))
    device: str = "cpu"
    amp: str = "off"
    threads: int = 1


class Loading(Case):
    """Random crops of the images of a data set."""

    def __init__(self, name: str, options: LoadingOptions) -> None:
        super().__init__(name, options)
        self.folder, self.spec = tempfile.TemporaryDirectory(), spec(name)
        root = Path(self.folder.name)
        write_demo(root, domains=[name], train=IMAGES, val=1, size=options.size, workers=1)
        self.files = self.spec.pairs(root, "train")
        for sample in self.files:
            with Image.open(sample.image) as image:
                smooth = image.filter(SMOOTH)
            smooth.save(sample.image, quality=95)
        if options.packed:
            flags = f"--packed {options.packed} --datasets {name} --splits train --workers 1"
            with redirect_stdout(StringIO()):
                prepare([str(root), *flags.split()])
        self.images = LabelledImages(self.spec, root, "train")
        samples = self.spec.pairs(root, "train")
        domains = [(self.spec, [sample]) for sample in samples]  # each image is a domain of its own
        copies = packed.find(root, self.spec, samples)
        plain = Augmentation(crop_size=CROP)
        self.domains = Domains(domains, plain, seed=0, copies=copies)
        self.coloured = replace(self.domains, augmentation=replace(plain, color_aug=0.5, gblur=True))

    def work(self) -> None:
        """Load, scale, crop and mirror."""
        draw_samples(self.domains)

    def augment(self) -> None:
        """The same, then blur all samples and jitter half of them."""
        draw_samples(self.coloured)

    def load(self) -> None:
        """Load whole pairs, checked and mapped to train ids."""
        for number in range(SAMPLES):
            self.images[number % IMAGES]

    def floor(self) -> None:
        for number in range(SAMPLES):
            sample = self.files[number % IMAGES]
            for path in (sample.image, sample.label):
                with Image.open(path) as picture:
                    picture.load()

    def turn(self) -> Figures:
        """Milliseconds per sample, and ratios to the floor."""
        ways = {"augmented": self.augment, "sample": self.work, "load": self.load, "decode": self.floor}
        spent = {name: 1000 * self.seconds(way) / SAMPLES for name, way in ways.items()}
        return spent | {f"{way} / decode": spent[way] / spent["decode"] for way in ("sample", "load")}


def draw_samples(domains: Domains) -> None:
    for number in range(SAMPLES):
        domains[Request(number, number % IMAGES, 0, hard=False, meta_test=False)]


if __name__ == "__main__":
    run_benchmark("loading", __doc__, LoadingOptions, Loading)
