"""One sheet of pictures: per domain an image, its labels, and the prediction of each result.

``python -m tools.visualise SHEET.jpg --dataset gtav cityscapes --results baseline=DIR PinMem=DIR``, where each DIR was
written by ``eval.py --dump_images``.
"""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.images import LabelledImages
from datasets.options import DataOptions
from engine.options.parser import dataset_names, named_folder
from utils.errors import UsageError
from utils.files import errors_about
from utils.log import counted
from utils.options import ANY, COUNT, add_options, fill
from utils.pictures import contact_sheet
from utils.program import run_program

SUFFIXES = (".jpg", ".jpeg", ".png")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.visualise", description=__doc__)
    parser.add_argument("sheet", type=Path, metavar="SHEET", help="the picture to write")
    parser.add_argument("--dataset", nargs="+", required=True, metavar="NAME", help="one row each")
    parser.add_argument("--split", default="val", choices=("train", "val", "test"), help="(default: val)")
    parser.add_argument("--index", type=ANY, default=0, metavar="N", help="which image of each domain (default: 0)")
    parser.add_argument(
        "--results", type=named_folder, nargs="*", default=[], metavar="NAME=DIR", help="one column each"
    )
    parser.add_argument("--width", type=COUNT, default=320, metavar="PIXELS", help="of one picture (default: 320)")
    add_options(parser, DataOptions)
    parser.set_defaults(gtav_labels="ids")
    args = parser.parse_args(argv)
    results = dict(args.results)
    if args.sheet.suffix.lower() not in SUFFIXES:
        parser.error(f"{args.sheet}: give a name that ends in {' or '.join(SUFFIXES)}")
    names = dataset_names(args.dataset, args.data_root)
    data = fill(DataOptions, args, names=tuple(names))
    domains = [data.images(name, args.split) for name in names]
    rows = [(images.spec.name, pictures(images, args.index, results.values())) for images in domains]
    sheet = np.concatenate([draw_row(*row, titles=["image", "labels", *results], width=args.width) for row in rows])
    args.sheet.parent.mkdir(parents=True, exist_ok=True)
    with errors_about(args.sheet):
        Image.fromarray(sheet).save(args.sheet, quality=88)


def pictures(images: LabelledImages, index: int, results: Iterable[Path]) -> list[Image.Image]:
    """Return an image of a domain, its labels, and its predictions, in the sizes in which they are stored."""
    domain = f"{images.spec.name} ({images.split})"
    if index >= len(images):
        raise UsageError(f"--index {index}: {domain} has {counted(len(images), 'image')}; give 0 to {len(images) - 1}")
    image, labels, name = images[index]
    row = [image, Image.fromarray(images.spec.classes.colourise(labels))]
    for folder in results:
        path = folder / f"{images.spec.name}_{images.split}" / "colours" / f"{name}.png"
        if not path.is_file():
            raise UsageError(f"--results {folder}: no {path}; evaluate {images.spec.name} with --dump_images")
        row.append(Image.open(path).convert("RGB"))
    return row


def draw_row(domain: str, row: Sequence[Image.Image], *, titles: Sequence[str], width: int) -> np.ndarray:
    """Draw the pictures of a domain side by side, each ``width`` pixels wide and with a title, as H,W,3 uint8."""
    tiles = {f"{domain}: {title}": np.asarray(picture) for title, picture in zip(titles, row, strict=True)}
    return contact_sheet(tiles, columns=len(tiles), width=width)


if __name__ == "__main__":
    run_program("tools.visualise", main)
