"""One sheet of pictures: per domain an image, its labels, and the prediction of each result.

``python -m tools.visualise SHEET.jpg --dataset gtav cityscapes --results baseline=DIR PinMem=DIR``, where each DIR was
written by ``eval.py --dump_images``.
"""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from datasets.images import LabelledImages
from datasets.options import DataOptions
from engine.options.parser import dataset_names, named_folder
from utils.errors import UsageError
from utils.files import errors_about
from utils.log import counted
from utils.options import ANY, COUNT, add_options, fill
from utils.program import run_program

TITLE = 18  # height of a line of text
SUFFIXES = (".jpg", ".jpeg", ".png")
Row = tuple[str, list[Image.Image]]  # the name of a domain and its pictures


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
    args.sheet.parent.mkdir(parents=True, exist_ok=True)
    with errors_about(args.sheet):
        draw_sheet(rows, ["image", "labels", *results], args.width).save(args.sheet, quality=88)


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


def draw_sheet(rows: Sequence[Row], titles: list[str], width: int) -> Image.Image:
    """Draw all pictures ``width`` pixels wide, titles above the columns and the rows' names in their corners."""
    heights = [max(1, round(width * row[0].height / row[0].width)) for _, row in rows]
    sheet = Image.new("RGB", (width * len(titles), TITLE + sum(heights)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for column, title in enumerate(titles):
        draw.text((column * width + 5, 1), title, "black", font=font)
    top = TITLE
    for (name, row), height in zip(rows, heights, strict=True):
        for column, picture in enumerate(row):
            sheet.paste(picture.resize((width, height), Image.Resampling.LANCZOS), (column * width, top))
        draw.rectangle((0, top, draw.textlength(name, font=font) + 8, top + TITLE), "white")
        draw.text((4, top + 1), name, "black", font=font)
        top += height
    return sheet


if __name__ == "__main__":
    run_program("tools.visualise", main)
