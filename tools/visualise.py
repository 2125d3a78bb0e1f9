"""One sheet of pictures: per domain an image, its labels, and what each result predicted there.

``python -m tools.visualise SHEET.jpg --dataset gtav cityscapes --results baseline=DIR PinMem=DIR``, where each DIR was
written by ``eval.py --dump_images``.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from datasets.images import LabelledImages
from datasets.options import DataOptions
from engine.options.parser import ANY, COUNT, dataset_names, named_folders
from engine.program import run_program
from utils.errors import UsageError
from utils.options import add_options, fill

TITLE = 18  # height of a line of text
SUFFIXES = (".jpg", ".jpeg", ".png")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.visualise", description=__doc__)
    parser.add_argument("sheet", type=Path, metavar="SHEET", help="the picture to write")
    parser.add_argument("--dataset", nargs="+", required=True, metavar="NAME", help="one row each")
    parser.add_argument("--split", default="val", choices=("train", "val", "test"), help="(default: val)")
    parser.add_argument("--index", type=ANY, default=0, metavar="N", help="which image of each domain (default: 0)")
    parser.add_argument("--results", nargs="*", default=[], metavar="NAME=DIR", help="one column each")
    parser.add_argument("--width", type=COUNT, default=320, metavar="PIXELS", help="of one picture (default: 320)")
    add_options(parser, DataOptions)
    parser.set_defaults(gtav_labels="ids")
    args = parser.parse_args(argv)
    results = named_folders(parser, args.results)
    if args.sheet.suffix.lower() not in SUFFIXES:
        parser.error(f"{args.sheet}: give a name that ends in {' or '.join(SUFFIXES)}")
    names = dataset_names(args.dataset, args.data_root)
    data = fill(DataOptions, args, names=tuple(names))
    domains = [data.images(name, args.split) for name in names]
    rows = {images.spec.name: pictures_of(images, args.index, results) for images in domains}
    args.sheet.parent.mkdir(parents=True, exist_ok=True)
    sheet(list(rows.values()), list(rows), ["image", "labels", *results], args.width).save(args.sheet, quality=88)


def pictures_of(images: LabelledImages, index: int, results: dict[str, Path]) -> list[Image.Image]:
    """One image of a domain, its labels and the predictions, as stored."""
    domain, split = images.spec.name, images.split
    if index >= len(images):
        remedy = f"give 0 to {len(images) - 1}"
        raise UsageError(f"--index {index}: {domain} ({split}) has {len(images)} images; {remedy}")
    image, labels, name = images[index]
    pictures = [image, Image.fromarray(images.spec.classes.colourise(labels))]
    for folder in results.values():
        path = folder / f"{domain}_{split}" / "colours" / f"{name}.png"
        if not path.is_file():
            raise UsageError(f"--results {folder}: no {path}; evaluate {domain} with --dump_images")
        pictures.append(Image.open(path).convert("RGB"))
    return pictures


def sheet(rows: list[list[Image.Image]], names: list[str], columns: list[str], width: int) -> Image.Image:
    """All pictures at one width, titles above the columns and names in the rows' corners."""
    heights = [max(1, round(width * pictures[0].height / pictures[0].width)) for pictures in rows]
    canvas = Image.new("RGB", (width * len(columns), TITLE + sum(heights)), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    for k, title in enumerate(columns):
        draw.text((k * width + 5, 1), title, "black", font=font)
    tops = TITLE + np.cumsum([0, *heights[:-1]])
    for pictures, name, top, height in zip(rows, names, tops.tolist(), heights, strict=True):
        for k, picture in enumerate(pictures):
            canvas.paste(picture.resize((width, height), Image.Resampling.LANCZOS), (k * width, top))
        draw.rectangle((0, top, draw.textlength(name, font=font) + 8, top + TITLE), "white")
        draw.text((4, top + 1), name, "black", font=font)
    return canvas


if __name__ == "__main__":
    run_program("tools.visualise", main)
