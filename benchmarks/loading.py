"""What the loading of a training sample costs, compared with the decoding of its two files.

Street scenes with the grain of photographs are drawn into a temporary folder in the form of each data set.  The floor
is Pillow's decoding of image and label (SYNTHIA's 16-bit label: torchvision's).  All ways alternate on one core, on
the same samples, in processor time.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from PIL import Image, ImageFilter
from torchvision.io import decode_image

from benchmarks.frame import Case, Options, Rows, run_benchmark
from datasets import packed
from datasets.demo import STYLES, write_demo
from datasets.images import LabelledImages
from datasets.prepare.__main__ import main as prepare
from datasets.registry import spec
from datasets.sampling.loaders import Domains
from datasets.sampling.requests import Request
from datasets.transforms import Augmentation
from utils.errors import UsageError
from utils.options import COUNT, option

Way = Callable[[Request], object]
IMAGES, SAMPLES, CROP = 4, 12, 768
SMOOTH = ImageFilter.GaussianBlur(0.5)  # without it, the grain of the scenes compresses worse than that of photographs


@dataclass(frozen=True)
class LoadingOptions(Options):
    cases: tuple[str, ...] = option(tuple(STYLES), "which ones", flag="datasets", nargs="+", choices=tuple(STYLES))
    size: tuple[int, int] = option((1052, 1914), "of an image", type=COUNT, nargs=2, metavar=("HEIGHT", "WIDTH"))
    device: str = "cpu"
    amp: str = "off"
    threads: int = 1
    processor_time: bool = True


class Loading(Case):
    """The ways to load samples of a data set."""

    title = "data set"

    def __init__(self, name: str, options: LoadingOptions) -> None:
        super().__init__(name, options)
        self.folder, self.spec = tempfile.TemporaryDirectory(), spec(name)
        root = Path(self.folder.name)
        write_demo(root, domains=[name], train=IMAGES, val=1, size=options.size, workers=1)
        self.samples = self.spec.pairs(root, "train")
        for sample in self.samples:
            with Image.open(sample.image) as image:
                smooth = image.filter(SMOOTH)
            smooth.save(sample.image, quality=95)
        self.ways = {"decode": self.decode, **self.loading(root)}
        self.ways["photometric"] = self.sampling(root, color_aug=0.5, gblur=True)
        self.megabytes = {"": megabytes(path for sample in self.samples for path in (sample.image, sample.label))}
        for form in packed.FORMS:
            (root / form).mkdir()
            (root / form / self.spec.folders[0]).symlink_to(root / self.spec.folders[0])
            flags = f"--packed {form} --datasets {name} --splits train --workers 1".split()
            with redirect_stdout(StringIO()):
                failed = prepare([str(root / form), *flags])
            if failed:
                raise UsageError(f"--datasets {name}: the {form} copies could not be made: see above")
            self.ways |= self.loading(root / form, f"{form} ")
            self.megabytes[form] = megabytes((root / form).rglob("*.tif"))

    def loading(self, root: Path, prefix: str = "") -> dict[str, Way]:
        images = LabelledImages(self.spec, root, "train")
        return {f"{prefix}load": lambda request: images[request.domain], f"{prefix}sample": self.sampling(root)}

    def sampling(self, root: Path, **photometric: Any) -> Way:
        """Each image is a domain of its own, so that all ways load the same images."""
        samples = self.spec.pairs(root, "train")
        copies = packed.find(root, self.spec, samples)
        augmentation = Augmentation(crop_size=CROP, **photometric)
        return Domains([(self.spec, [sample]) for sample in samples], augmentation, seed=0, copies=copies).__getitem__

    def decode(self, request: Request) -> None:
        sample = self.samples[request.domain]
        with Image.open(sample.image) as image:
            image.load()
        if self.spec.sixteen_bit:
            decode_image(str(sample.label), mode="UNCHANGED")
        else:
            with Image.open(sample.label) as label:
                label.load()

    def turn(self) -> Rows:
        """Megabytes, milliseconds and ratios, per sample."""
        spent = Counter()
        for number in range(SAMPLES):
            request = Request(number, number % IMAGES, 0, hard=False, meta_test=False)
            for name, way in self.ways.items():
                spent[name] += 1000 * self.seconds(way, request) / SAMPLES
        figures = {"MB": self.megabytes[""]} | {name: spent[name] for name in ("decode", "load", "sample")}
        figures |= {f"{way} / decode": spent[way] / spent["decode"] for way in ("load", "sample")}
        figures["photometric"] = spent["photometric"] - spent["sample"]
        for form in packed.FORMS:
            figures[f"{form} MB"] = self.megabytes[form]
            figures |= {f"{form} {way}": spent[f"{form} {way}"] for way in ("load", "sample")}
            figures |= {f"{way} / {form} {way}": spent[way] / spent[f"{form} {way}"] for way in ("load", "sample")}
        return {self.name: figures}


def megabytes(files: Iterable[Path]) -> float:
    """Megabytes per image."""
    return sum(path.stat().st_size for path in files) / IMAGES / 1e6


if __name__ == "__main__":
    run_benchmark("loading", __doc__, LoadingOptions, Loading)
