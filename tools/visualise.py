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
from datasets.registry import spec, titles
from engine.options.flags import ANY, COUNT, add_data_root, data_sets, named_folders
from engine.program import run_program
from utils.errors import UsageError

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
    add_data_root(parser, gtav_labels="ids")
    args = parser.parse_args(argv)
    results = named_folders(parser, args.results)
    if args.sheet.suffix.lower() not in SUFFIXES:
        parser.error(f"{args.sheet}: give a name that ends in {' or '.join(SUFFIXES)}")
    args.dataset = data_sets(parser, args.dataset, args.data_root)
    rows = [row(args, name, results) for name in args.dataset]
    columns = ["image", "labels", *results]
    args.sheet.parent.mkdir(parents=True, exist_ok=True)
    called = titles(args.dataset)
    names = [called.get(name, name) for name in args.dataset]
    sheet(rows, names, columns, args.width).save(args.sheet, quality=88)


def row(args: argparse.Namespace, domain: str, results: dict[str, Path]) -> list[Image.Image]:
    """Image, labels and the predictions of one domain, as stored."""
    images = LabelledImages(
        spec(
            domain,
            gtav_labels=args.gtav_labels,
            split_files=args.split_file or (),
            title=titles(args.dataset).get(domain),
        ),
        args.data_root,
        args.split,
    )
    domain = images.spec.name
    if args.index >= len(images):
        remedy = f"give 0 to {len(images) - 1}"
        raise UsageError(f"--index {args.index}: {domain} ({args.split}) has {len(images)} images; {remedy}")
    image, labels, name = images[args.index]
    pictures = [image, Image.fromarray(images.spec.classes.colourise(labels))]
    for folder in results.values():
        path = folder / f"{domain}_{args.split}" / "colours" / f"{name}.png"
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
