"""What loading a training sample costs, against decoding its two files.

Street scenes with the grain of photographs are drawn into a temporary folder in the form of each data set.  The floor
is Pillow's decoding of image and label (of SYNTHIA's 16-bit label: torchvision's); everything runs in turns on one
core, on the same samples, in processor time.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageFilter
from torchvision.io import decode_image

from datasets import packed
from datasets.decoding import read_pair
from datasets.demo import STYLES, write_demo
from datasets.prepare import __main__ as prepare
from datasets.registry import DatasetSpec, Sample, spec
from datasets.sampling.loaders import Domains
from datasets.sampling.requests import Request
from datasets.transforms import Augmentation
from engine.options.flags import COUNT, Formatter
from engine.program import run_program
from utils.errors import UsageError

SMOOTH = ImageFilter.GaussianBlur(0.5)  # without it, the grain of the scenes compresses worse than that of photographs


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.loading", description=__doc__, formatter_class=Formatter
    )
    parser.add_argument(
        "--datasets", nargs="+", default=list(STYLES), choices=list(STYLES), metavar="NAME", help="which"
    )
    parser.add_argument(
        "--size", type=COUNT, nargs=2, default=(1052, 1914), metavar=("HEIGHT", "WIDTH"), help="of an image"
    )
    parser.add_argument("--images", type=COUNT, default=4, help="of each data set")
    parser.add_argument("--samples", type=COUNT, default=12, help="of each turn, the same in all")
    parser.add_argument("--crop", type=COUNT, default=768, help="side of a sample")
    parser.add_argument("--repeats", type=COUNT, default=7, help="counted turns, after one that is not")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = {name: measure(name, Path(folder), args) for name in args.datasets}
    print(table(rows))
    if args.json:
        args.json.write_text(json.dumps({"flags": vars(args), "data sets": rows}, indent=1, default=str) + "\n")


def draw(name: str, root: Path, args: argparse.Namespace) -> list[Sample]:
    """Photo-like files of a data set."""
    write_demo(root, domains=[name], train=args.images, val=1, size=tuple(args.size), workers=1)
    samples = spec(name).pairs(root, "train")
    for sample in samples:
        with Image.open(sample.image) as image:
            smooth = image.filter(SMOOTH)
        smooth.save(sample.image, quality=95)
    return samples


def pack(root: Path, name: str, form: str) -> Path:
    """The data root with packed copies in that form."""
    home = root / form
    with redirect_stdout(StringIO()):
        code = prepare.main(
            [str(root), "--packed", form, "--out", str(home), "--datasets", name, "--splits", "train", "--workers", "1"]
        )
    if code:
        raise UsageError(f"{form} copies of {name} could not be made: see above")
    return home


class Bench:
    """The ways to get samples of a data set."""

    def __init__(self, row: DatasetSpec, root: Path, args: argparse.Namespace) -> None:
        self.row, self.samples = row, draw(row.name, root, args)
        # A domain of its own for each image, so that all ways get the same ones.
        self.requests = [Request(n, n % args.images, 0, hard=False, meta_test=False) for n in range(args.samples)]
        geometry = Augmentation(crop_size=args.crop)
        photometric = Augmentation(crop_size=args.crop, color_aug=0.5, gblur=True)
        self.ways: dict[str, Callable[[Request], Any]] = {
            "decode": self.decode,
            "load": partial(self.load, {}),
            "sample": self.domains(geometry, {}).__getitem__,
            "photometric": self.domains(photometric, {}).__getitem__,
        }
        for form in packed.FORMS:
            home = pack(root, row.name, form)
            found = packed.find(home, row, row.pairs(home, "train"))
            copies = {sample.image: found[home / sample.image.relative_to(root)] for sample in self.samples}
            self.ways[f"load {form}"] = partial(self.load, copies)
            self.ways[f"sample {form}"] = self.domains(geometry, copies).__getitem__
        files = {"original": [path for sample in self.samples for path in (sample.image, sample.label)]}
        files |= {form: list((root / form).rglob("*.tif")) for form in packed.FORMS}
        self.sizes = {kind: sum(path.stat().st_size for path in paths) for kind, paths in files.items()}

    def domains(self, augmentation: Augmentation, copies: dict[Path, Path]) -> Domains:
        return Domains([(self.row, [sample]) for sample in self.samples], augmentation, seed=0, copies=copies)

    def chosen(self, request: Request) -> Sample:
        return self.samples[request.domain]

    def decode(self, request: Request) -> None:
        sample = self.chosen(request)
        with Image.open(sample.image) as image:
            image.load()
        if self.row.sixteen_bit:
            decode_image(str(sample.label), mode="UNCHANGED")
        else:
            with Image.open(sample.label) as label:
                label.load()

    def load(self, copies: dict[Path, Path], request: Request) -> None:
        read_pair(self.row, self.chosen(request), copies)

    def turn(self) -> dict[str, float]:
        """Milliseconds of processor time per sample, the ways taken in turns."""
        spent = dict.fromkeys(self.ways, 0.0)
        for request in self.requests:
            for name, way in self.ways.items():
                start = time.process_time()
                way(request)
                spent[name] += 1000 * (time.process_time() - start)
        return {name: total / len(self.requests) for name, total in spent.items()}


def measure(name: str, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    bench = Bench(spec(name), folder / name, args)
    bench.turn()
    turns = [bench.turn() for _ in range(args.repeats)]
    ratios = {
        "load": ("load", "decode"),
        "sample": ("sample", "decode"),
        **{f"{what} {form}": (what, f"{what} {form}") for what in ("load", "sample") for form in packed.FORMS},
    }
    return {
        "megabytes": {kind: size / args.images / 1e6 for kind, size in bench.sizes.items()},
        "milliseconds": {way: statistics.median(turn[way] for turn in turns) for way in bench.ways},
        "photometric": statistics.median(turn["photometric"] - turn["sample"] for turn in turns),
        "ratios": {
            name: statistics.median(turn[upper] / turn[lower] for turn in turns)
            for name, (upper, lower) in ratios.items()
        },
        "turns": turns,
    }


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Markdown: milliseconds per sample of the originals, then size, time and gain of the copies in each form."""
    head = ["data set", "MB", "decode", "load", "sample", "load / decode", "sample / decode", "photometric"]
    head += [f"{form} {what}" for form in packed.FORMS for what in ("MB", "load", "sample", "gain", "gain of a sample")]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, row in rows.items():
        size, time_, ratio = row["megabytes"], row["milliseconds"], row["ratios"]
        cells = [f"{size['original']:.2f}", *(f"{time_[way]:.1f}" for way in ("decode", "load", "sample"))]
        cells += [f"{ratio['load']:.2f}", f"{ratio['sample']:.2f}", f"{row['photometric']:.1f}"]
        for form in packed.FORMS:
            cells += [f"{size[form]:.2f}", f"{time_[f'load {form}']:.1f}", f"{time_[f'sample {form}']:.1f}"]
            cells += [f"{ratio[f'load {form}']:.1f}", f"{ratio[f'sample {form}']:.1f}"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_program("benchmarks.loading", main)
