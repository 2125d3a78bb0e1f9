"""Faults that users of these data sets met, each as one change of a good demo tree."""

import json
import shutil
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image

from datasets.demo import scene_files
from datasets.demo.encodings import write_labels
from datasets.labels import CITYSCAPES_IDS, GTAV_PALETTE, IGNORE, STANDARD
from datasets.registry import spec

HTML = b"<!DOCTYPE html>\n<html><body>Please log in</body></html>"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
SPLITS = {"train": 4, "val": 2}
SIZE = (64, 32)


class Place(NamedTuple):
    """The folder of a demo data set that a fault may change."""

    home: Path
    name: str
    layout: str

    def image(self, split: str = "train", index: int = 1) -> Path:
        return self.home / scene_files(self.name, self.layout, split, index)[0]

    def label(self, split: str = "train", index: int = 1) -> Path:
        return self.home / scene_files(self.name, self.layout, split, index)[1]

    def pairs(self, *splits: str) -> list[tuple[Path, Path]]:
        indices = [(split, index) for split in splits or SPLITS for index in range(SPLITS[split])]
        return [(self.image(*index), self.label(*index)) for index in indices]


Change = Callable[[Place], Path]  # makes the fault and returns the file that the finding has to name


def change_files(
    files: Callable[[Place], list[Path]], change: Callable, *arguments: object, **options: object
) -> Change:
    """A change of each of the files."""

    def apply(place: Place) -> Path:
        for path in files(place):
            change(path, *arguments, **options)
        return path

    return apply


image = partial(change_files, lambda place: [place.image()])
label = partial(change_files, lambda place: [place.label()])
both = partial(change_files, lambda place: [place.label(), place.image()])
all_labels = partial(change_files, lambda place: [path for _, path in place.pairs()])


def folder(change: Callable, *arguments: str | bytes) -> Change:
    return lambda place: change(place, *arguments)


# Changes of a tree


def put(place: Place, name: str, content: bytes) -> Path:
    """A new file."""
    (place.home / name).write_bytes(content)
    return place.home / name


def move(place: Place, old: str, new: str, named: str = "") -> Path:
    """Folders or files (a glob) under another name."""
    for source in sorted(place.home.glob(old)):
        target = place.home / new.format(*source.relative_to(place.home).parts)
        source = source.rename(source.with_name("moving"))  # so that it can go into a folder of its own name
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
    return place.home / named


def still_zipped(place: Place) -> Path:
    archive = place.home / "leftImg8bit_trainvaltest.zip"
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("leftImg8bit/README", "images")
    shutil.rmtree(place.home / "leftImg8bit")
    return archive


def as_jpeg(place: Place) -> Path:
    for path, _ in place.pairs():
        Image.open(path).save(path.with_suffix(".jpg"))
        path.unlink()
    return place.home / "images"


def other_kind(place: Place, old: str, new: str) -> Path:
    """Labels with the name that another tool gives."""
    for _, path in place.pairs():
        path.rename(path.with_name(path.name.replace(old, new)))
    return place.image()


def no_pair(place: Place) -> Path:
    place.image().unlink()
    place.label().unlink()
    return place.home


def no_image(place: Place) -> Path:
    place.image().unlink()
    return place.label()


def upper_case(place: Place) -> Path:
    return place.image().rename(place.image().with_suffix(".PNG"))


def surplus_image(place: Place) -> Path:
    return Path(shutil.copy(place.image(), place.image().with_name("copy.jpeg")))


def double(place: Place) -> Path:
    shutil.copy(place.label("train"), place.label("val"))
    return Path(shutil.copy(place.image("train"), place.image("val")))


def renumbered(place: Place) -> Path:
    """No number in GTAV's split.mat."""
    for path in (path for pair in place.pairs() for path in pair):
        path.rename(path.with_name(path.name.replace("0", "2", 2)))
    return place.home


def known_as_invalid(place: Place) -> Path:
    """The number of an image of GTAV whose label is known to be wrong."""
    for path in (place.image(), place.label()):
        path.rename(path.with_name("15188.png"))
    return place.home


# Changes of a file


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def dangle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("not_there.png"))


def resized(path: Path) -> None:
    with Image.open(path) as picture:
        picture.resize((32, 16), Image.Resampling.NEAREST).save(path)


def mode(path: Path, name: str) -> None:
    with Image.open(path) as picture:
        picture.convert(name).save(path)


def twelve_bits(path: Path) -> None:
    with Image.open(path) as picture:
        numbers = np.asarray(picture.convert("L")).astype(np.uint16) << 4
    Image.fromarray(numbers).save(path)


def upside_down(path: Path) -> None:
    with Image.open(path) as picture:
        exif = picture.getexif()
        exif[ExifTags.Base.Orientation] = 3
        picture.save(path, exif=exif)


def wider_polygons(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"imgWidth": 70}))


def filled(path: Path, value: int, corner: int, dtype: type = np.uint8) -> None:
    """A label of one id, with a corner of another one."""
    stored = np.full(SIZE[::-1], value, dtype)
    stored[:4, :4] = corner
    Image.fromarray(stored).save(path)


def as_train_ids(path: Path, name: str) -> None:
    """Converted in place, with a corner that is not labelled."""
    converted = spec(name).decode(path).copy()
    converted[:2, :2] = IGNORE
    Image.fromarray(converted).save(path)


def requantised(path: Path) -> None:
    """Saved by a program that sorts the palette anew."""
    with Image.open(path) as picture:
        stored, order = np.asarray(picture), np.arange(256)
    order[:35] = order[:35][::-1]
    again = Image.fromarray(order[stored].astype(np.uint8))
    again.putpalette(GTAV_PALETTE[::-1].tobytes())
    again.save(path)


def repainted(path: Path) -> None:
    """With colours that no class has."""
    with Image.open(path) as picture:
        picture.putpalette((GTAV_PALETTE ^ 1).tobytes())
        picture.save(path)


def smoothed(path: Path) -> None:
    """In colours, and resized as photographs are."""
    with Image.open(path) as picture:
        picture.convert("RGB").resize((40, 20), Image.Resampling.BICUBIC).resize(SIZE).save(path)


def lossy(path: Path) -> None:
    """A JPEG under the old name; blocks of 8 pixels happen to keep their ids."""
    Image.fromarray(np.repeat([[0, 2]], 32, 0).repeat(32, 1).astype(np.uint8)).save(path, "JPEG", quality=100)


def coloured(path: Path) -> None:
    Image.fromarray(STANDARD.colourise(spec("cityscapes").decode(path))).convert("RGBA").save(path)


def without_classes(path: Path) -> None:
    """16 bits, with instances but no classes."""
    write_labels(spec("synthia"), path, np.full(SIZE[::-1], IGNORE, np.uint8))


# Name: data set, layout, change, codes that are reported (the first one for the named file)
CASES: dict[str, tuple[str, str, Change, str]] = {
    # Folders
    "archives only": ("cityscapes", "official", still_zipped, "unread_file no_images"),
    "a folder twice": (
        "cityscapes", "official", folder(move, "leftImg8bit", "leftImg8bit/leftImg8bit"), "misplaced_images"),
    "two folders between": ("bdd100k", "official", folder(move, "*s", "a/b/{}"), "misplaced_images"),
    "validation": (
        "cityscapes", "official", folder(move, "*/val", "{}/validation", "leftImg8bit/validation"), "misplaced_images"),
    "images as JPEG": ("gtav", "readme", as_jpeg, "misplaced_images"),
    "100k images": (
        "bdd100k", "official", folder(move, "images/10k", "images/100k", "images/100k"), "misplaced_images"),
    "labels of v2.0 only": ("mapillary", "official", folder(move, "*/v1.2", "{}/v2.0"), "refused_split"),
    "no images at all": ("synthia", "readme", folder(move, "RGB", "Depth"), "no_images"),
    "archive left over": ("idd", "readme", folder(put, "idd.tar.gz", b"\x1f\x8b000"), "unread_file"),
    "files of macOS": ("mapillary", "readme", folder(put, "training/images/._x.jpg", b"\0\5\x16\7"), "unread_file"),
    "upper-case suffix": ("gtav", "readme", upper_case, "unread_file orphan_label count"),
    "image of another suffix": ("idd", "readme", surplus_image, "unread_file"),
    # Pairs and splits
    "no pair": ("gtav", "readme", no_pair, "count"),
    "no label": ("gtav", "readme", label(Path.unlink), "missing_label refused_split"),
    "no image": ("bdd100k", "readme", no_image, "orphan_label count"),
    "IDD's level 3 ids": (
        "idd", "official", folder(other_kind, "_polygons.json", "_labellevel3Ids.png"), "missing_label refused_split"),
    "BDD100K's colours": (
        "bdd100k", "readme", folder(other_kind, "_train_id", "_train_color"),
        "missing_label orphan_label refused_split"),
    "split.mat cut short": ("gtav", "official", folder(put, "split.mat", b"MATLAB 5.0 MAT-file"), "refused_split"),
    "split.mat of other data": ("gtav", "official", renumbered, "no_images"),
    "image known to be invalid": ("gtav", "readme", known_as_invalid, "loader count"),
    "image of train in val": ("cityscapes", "readme", double, "double"),
    # What the loader refuses
    "empty image": ("gtav", "readme", image(Path.write_bytes, b""), "bad_image"),
    "label as LFS pointer": ("cityscapes", "readme", label(Path.write_bytes, LFS), "bad_label"),
    "image as web page": ("bdd100k", "readme", image(Path.write_bytes, HTML), "bad_image"),
    "polygons as web page": ("idd", "official", label(Path.write_bytes, HTML), "bad_label"),
    "image as dangling link": ("idd", "readme", image(dangle), "bad_image"),
    "PNG cut short": ("gtav", "official", image(truncate), "bad_image"),
    "JPEG cut short": ("bdd100k", "official", image(truncate), "bad_image"),
    "16-bit label cut short": ("synthia", "readme", label(truncate), "bad_label"),
    "polygons of another size": ("idd", "official", label(wider_polygons), "size_mismatch"),
    "GTAV label of another size": ("gtav", "readme", label(resized), "size_mismatch refused_split"),
    "image of another size": ("synthia", "readme", image(resized), "size_mismatch other_size"),
    "image of 12 bits": ("gtav", "readme", image(twelve_bits), "bad_image"),
    "SYNTHIA in 8 bits": ("synthia", "readme", label(mode, "RGB"), "bad_label"),
    "instance ids": ("cityscapes", "official", label(filled, 0, 26001, np.uint16), "bad_label"),
    "colours named labelIds": ("cityscapes", "readme", label(coloured), "bad_label"),
    "BDD100K's id column": ("bdd100k", "readme", label(filled, 0, 29), "bad_label"),
    # What training would read without an error
    "pair resized": ("bdd100k", "readme", both(resized), "other_size"),
    "image to be turned": ("bdd100k", "readme", image(upside_down), "turned"),
    "image without colours": ("gtav", "readme", image(mode, "L"), "grey_image"),
    "label as JPEG": ("bdd100k", "readme", label(lossy), "lossy_label"),
    "train ids in one labelIds": ("cityscapes", "official", label(as_train_ids, "cityscapes"), "train_ids"),
    "train ids as Mapillary's": ("mapillary", "official", all_labels(as_train_ids, "mapillary"), "train_ids"),
    "palette of other colours": ("gtav", "readme", label(repainted), "other_palette"),
    "palette in another order": ("gtav", "readme", label(requantised), "stored_as_colours"),
    "GTAV in colours": ("gtav", "official", label(mode, "RGB"), "stored_as_colours"),
    "GTAV in colours, resized": ("gtav", "readme", label(smoothed), "stored_as_colours"),
    "SYNTHIA without classes": ("synthia", "readme", label(without_classes), "plain_label"),
    "label of sky": ("cityscapes", "readme", label(filled, CITYSCAPES_IDS[10], CITYSCAPES_IDS[10]), "plain_label"),
}  # fmt: skip
