"""Faults that users of these data sets met, each as one change of a good demo tree."""

import json
import shutil
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image
from scipy.io import savemat

from datasets.demo.encodings import write_labels
from datasets.demo.layouts import tree
from datasets.labels import CITYSCAPES_IDS, GTAV_PALETTE, IGNORE, colourise
from datasets.registry import spec

HTML = b"<!DOCTYPE html>\n<html><body>Please log in</body></html>"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
SPLITS = {"train": 4, "val": 2}


class Place(NamedTuple):
    """The folder of a demo data set that a fault may change."""

    home: Path
    name: str
    layout: str

    def image(self, split: str = "train", index: int = 1) -> Path:
        return self.home / tree(self.name, self.layout).image(split, index)

    def label(self, split: str = "train", index: int = 1) -> Path:
        return self.home / tree(self.name, self.layout).label(split, index)

    def labels(self) -> list[Path]:
        return [self.label(split, index) for split, number in SPLITS.items() for index in range(number)]


Change = Callable[[Place], Path]  # which makes the fault and tells the file that is to be named


def image(change: Callable[[Path], object]) -> Change:
    """One image changed."""

    def apply(place: Place) -> Path:
        change(place.image())
        return place.image()

    return apply


def label(change: Callable[[Path], object]) -> Change:
    """One label changed."""

    def apply(place: Place) -> Path:
        change(place.label())
        return place.label()

    return apply


def pair(change: Callable[[Path], object]) -> Change:
    """The label changed, so that it does not fit its image, which is named."""

    def apply(place: Place) -> Path:
        change(place.label())
        return place.image()

    return apply


def all_labels(change: Callable[[Path], object]) -> Change:
    def apply(place: Place) -> Path:
        for path in place.labels():
            change(path)
        return place.label()

    return apply


def bytes_of(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def dangle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("not_there.png"))


def ids(value: int, dtype: type = np.uint8) -> Callable[[Path], object]:
    """A label of one id but for a corner of another."""

    def change(path: Path) -> None:
        stored = np.zeros((32, 64), dtype)
        stored[:4, :4] = value
        Image.fromarray(stored).save(path)

    return change


def filled(value: int) -> Callable[[Path], object]:
    return lambda path: Image.new("L", (64, 32), value).save(path)


def resized(path: Path) -> None:
    with Image.open(path) as picture:
        picture.resize((32, 16), Image.Resampling.NEAREST).save(path)


def in_other_mode(name: str) -> Callable[[Path], object]:
    """In a mode for which the file's name promises too little."""

    def change(path: Path) -> None:
        with Image.open(path) as picture:
            other = picture.convert(name)
        other.save(path, format="TIFF")

    return change


def twelve_bits(path: Path) -> None:
    with Image.open(path) as picture:
        numbers = np.asarray(picture.convert("L")).astype(np.uint16) << 4
    Image.fromarray(numbers).save(path)


def upside_down(path: Path) -> None:
    with Image.open(path) as picture:
        exif = picture.getexif()
        exif[ExifTags.Base.Orientation] = 3
        picture.save(path, exif=exif)


def mode(name: str) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        with Image.open(path) as picture:
            picture.convert(name).save(path)

    return change


def as_train_ids(name: str) -> Callable[[Path], object]:
    """As tools do that convert labels in place; a corner is not labelled."""

    def change(path: Path) -> None:
        converted = spec(name).decode(path).copy()
        converted[:2, :2] = IGNORE
        Image.fromarray(converted).save(path)

    return change


def requantised(path: Path) -> None:
    """Saved again by a program that orders the palette anew."""
    with Image.open(path) as picture:
        stored, order = np.asarray(picture), np.arange(256)
    order[:35] = order[:35][::-1]
    again = Image.fromarray(order[stored].astype(np.uint8))
    again.putpalette(GTAV_PALETTE[::-1].tobytes())
    again.save(path)


def smoothed(path: Path) -> None:
    """In colours, and resized as photographs are."""
    with Image.open(path) as picture:
        picture.convert("RGB").resize((40, 20), Image.Resampling.BICUBIC).resize((64, 32)).save(path)


def lossy(path: Path) -> None:
    """A JPEG under the old name; blocks of 8 pixels keep their ids, by luck."""
    Image.fromarray(np.repeat([[0, 2]], 32, 0).repeat(32, 1).astype(np.uint8)).save(path, "JPEG", quality=100)


def coloured(path: Path) -> None:
    Image.fromarray(colourise(spec("cityscapes").decode(path))).convert("RGBA").save(path)


def without_classes(path: Path) -> None:
    """16 bits, with instances but no classes."""
    write_labels(spec("synthia"), path, np.full((32, 64), IGNORE, np.uint8))


def edited(change: Callable[[dict], object]) -> Callable[[Path], object]:
    """Polygons changed."""

    def apply(path: Path) -> None:
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return apply


def move(old: str, new: str, told: str = "") -> Change:
    """Folders or files under another name."""

    def apply(place: Place) -> Path:
        for source in sorted(place.home.glob(old)):
            source = source.rename(source.with_name("moving"))  # also into a folder of its own name
            target = place.home / new.format(*source.relative_to(place.home).parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            source.rename(target)
        return place.home / told

    return apply


def both(*changes: Change) -> Change:
    """One mistake that shows in several places; the last one tells the file."""
    return lambda place: [change(place) for change in changes][-1]


def put(name: str, content: bytes) -> Change:
    def apply(place: Place) -> Path:
        path = place.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    return apply


def still_zipped(place: Place) -> Path:
    """The images as an archive only."""
    archive = place.home / "leftImg8bit_trainvaltest.zip"
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("leftImg8bit/README", "images")
    shutil.rmtree(place.home / "leftImg8bit")
    return archive


def as_jpeg(place: Place) -> Path:
    for split, number in SPLITS.items():
        for path in (place.image(split, index) for index in range(number)):
            Image.open(path).save(path.with_suffix(".jpg"))
            path.unlink()
    return place.image("train", 0).with_suffix(".jpg")


def other_kind(suffix: str) -> Change:
    """Labels as another tool, or another task, names them."""

    def apply(place: Place) -> Path:
        for path in place.labels():
            stem = place.layout == "official" and path.name.removesuffix("_polygons.json")
            base = stem or path.name.removesuffix("_labelIds.png").removesuffix("_train_id.png")
            path.rename(path.with_name(base.removesuffix("_labelcsTrainIds.png") + suffix))
        return place.image()

    return apply


def no_label(place: Place) -> Path:
    place.label().unlink()
    return place.image()


def no_pair(place: Place) -> Path:
    place.label().unlink()
    place.image().unlink()
    return place.home


def no_image(place: Place) -> Path:
    place.image().unlink()
    return place.label()


def upper_case(place: Place) -> Path:
    path = place.image().with_suffix(".PNG")
    place.image().rename(path)
    return path


def surplus_label(place: Place) -> Path:
    path = place.label().with_name("a" + place.label().name)
    shutil.copy(place.label(), path)
    return path


def surplus_image(place: Place) -> Path:
    path = place.image().with_name("copy.jpeg")
    shutil.copy(place.image(), path)
    return path


def double(place: Place) -> Path:
    shutil.copy(place.image("train"), place.image("val"))
    shutil.copy(place.label("train"), place.label("val"))
    return place.image("val")


def invalid_number(place: Place) -> Path:
    """The image of which it is known that its label is of another."""
    for path in (place.image(), place.label()):
        path.rename(path.with_name("15188.png"))
    return place.home


def matlab(train: list[int], val: list[int]) -> bytes:
    numbers = {"trainIds": np.array(train), "valIds": np.array(val), "testIds": np.arange(0)}
    content = BytesIO()
    savemat(content, numbers)
    return content.getvalue()


class Case(NamedTuple):
    """A fault and what is to be found, by the data set and its layout."""

    name: str
    layout: str
    change: Change
    codes: str  # what is found: one word, but where a fault shows twice


CASES = {
    # Folders
    "archives only": Case("cityscapes", "official", still_zipped, "not_unzipped"),
    "one folder twice": Case("cityscapes", "official", move("leftImg8bit", "leftImg8bit/leftImg8bit"), "nested_folder"),
    "a folder of the archive between": Case(
        "bdd100k", "official", both(move("images", "a/b/images"), move("labels", "a/b/labels")), "nested_folder"),
    "validation for val": Case(
        "cityscapes", "official",
        move("*/val", "{}/validation", "leftImg8bit/validation"), "split_name"),
    "training for train": Case("bdd100k", "readme", move("*/train", "{}/training", "images/training"), "split_name"),
    "images as JPEG": Case("gtav", "readme", as_jpeg, "wrong_format"),
    "100k images": Case("bdd100k", "official", move("images/10k", "images/100k", "images/100k"), "bdd_100k"),
    "labels of v2.0 only": Case("mapillary", "official", move("*/v1.2", "{}/v2.0"), "refused_labels"),
    "no images at all": Case("synthia", "readme", move("RGB", "Depth"), "no_images"),
    "archive left over": Case("idd", "readme", put("idd.tar.gz", b"\x1f\x8b000"), "archive"),
    "download that failed": Case("gtav", "readme", put("02_images.zip", HTML), "html_page"),
    "archive of zero bytes": Case("gtav", "readme", put("02_images.zip", b""), "empty_file"),
    "files of macOS": Case("mapillary", "readme", put("training/images/._x.jpg", b"\0\5\x16\7"), "hidden_files"),
    "upper-case suffix": Case("gtav", "readme", upper_case, "ignored_image orphan_label count"),
    "image of another suffix": Case("idd", "readme", surplus_image, "ignored_image"),
    # Numbers, pairs, splits
    "a pair is missing": Case("gtav", "readme", no_pair, "count"),
    "a label is missing": Case("gtav", "readme", no_label, "missing_label"),
    "an image is missing": Case("bdd100k", "readme", no_image, "orphan_label count"),
    "a label too many": Case("bdd100k", "official", surplus_label, "orphan_label"),
    "level 3 ids of IDD": Case("idd", "official", other_kind("_labellevel3Ids.png"), "other_labels"),
    "Cityscapes colours only": Case("cityscapes", "readme", other_kind("_color.png"), "other_labels"),
    "BDD100K colours only": Case("bdd100k", "readme", other_kind("_train_color.png"), "other_labels orphan_label"),
    "split.mat cut short": Case("gtav", "official", put("split.mat", matlab([1, 2], [3])[:200]), "split_source"),
    "split.mat as a web page": Case("gtav", "official", put("split.mat", HTML), "split_source"),
    "split.mat names twice": Case("gtav", "official", put("split.mat", matlab([1, 2], [2, 3])), "split_source"),
    "split.mat of other data": Case(
        "gtav", "official", both(put("split.mat", matlab([777], [888])), lambda place: place.home), "no_images"),
    "no split.mat": Case("gtav", "official", move("split.mat", "read_mapping/other.mat"), "loader"),
    "image known to be invalid": Case("gtav", "readme", invalid_number, "loader count"),
    "image of train in val": Case("cityscapes", "readme", double, "double"),
    # Files
    "image of zero bytes": Case("gtav", "readme", image(bytes_of(b"")), "empty_file"),
    "label of zero bytes": Case("synthia", "readme", label(bytes_of(b"")), "empty_file"),
    "image as LFS pointer": Case("mapillary", "readme", image(bytes_of(LFS)), "lfs_pointer"),
    "label as LFS pointer": Case("cityscapes", "readme", label(bytes_of(LFS)), "lfs_pointer"),
    "image as web page": Case("bdd100k", "readme", image(bytes_of(HTML)), "html_page"),
    "polygons as web page": Case("idd", "official", label(bytes_of(HTML)), "html_page"),
    "image as dangling link": Case("idd", "readme", image(dangle), "dangling_link"),
    "label as dangling link": Case("bdd100k", "readme", label(dangle), "dangling_link"),
    "image is text": Case("cityscapes", "readme", image(bytes_of(b"no picture")), "unreadable"),
    "PNG cut short": Case("gtav", "official", image(truncate), "truncated"),
    "JPEG cut short": Case("bdd100k", "official", image(truncate), "truncated"),
    "label cut short": Case("mapillary", "official", label(truncate), "truncated"),
    "16-bit label cut short": Case("synthia", "readme", label(truncate), "truncated"),
    "polygons cut short": Case("idd", "official", label(truncate), "broken_polygons"),
    "polygon of unknown class": Case(
        "idd", "official", label(edited(lambda content: content["objects"][0].update(label="unicorn"))),
        "broken_polygons"),
    "polygons of another size": Case(
        "idd", "official", pair(edited(lambda content: content.update(imgWidth=70))), "size_mismatch"),
    "label of another size": Case("bdd100k", "readme", pair(resized), "size_mismatch"),
    "GTAV label of another size": Case("gtav", "readme", pair(resized), "size_mismatch"),
    "image of another size": Case("synthia", "readme", image(resized), "size_mismatch other_size"),
    "pair resized": Case("bdd100k", "readme", both(label(resized), image(resized)), "other_size"),
    "image of floats": Case("gtav", "readme", image(in_other_mode("F")), "image_depth"),
    "image of 12 bits": Case("gtav", "readme", image(twelve_bits), "image_depth"),
    "image to be turned": Case("bdd100k", "readme", image(upside_down), "turned"),
    "image without colours": Case("gtav", "readme", image(mode("L")), "grey_image"),
    # Contents of labels
    "SYNTHIA in 8 bits": Case("synthia", "readme", label(mode("RGB")), "label_8_bit"),
    "SYNTHIA as train ids": Case("synthia", "official", label(ids(2)), "label_8_bit"),
    "SYNTHIA without classes": Case("synthia", "readme", label(without_classes), "zero_channel"),
    "instance ids": Case("cityscapes", "official", label(ids(26001, np.uint16)), "label_mode"),
    "colours named labelIds": Case("cityscapes", "readme", label(coloured), "colour_label"),
    "colours as BDD100K's labels": Case("bdd100k", "official", label(mode("RGB")), "colour_label"),
    "label as JPEG": Case("bdd100k", "readme", label(lossy), "lossy_label"),
    "ids of v2.0": Case("mapillary", "readme", label(ids(110)), "unknown_ids"),
    "BDD100K's id column": Case("bdd100k", "readme", label(ids(29)), "unknown_ids"),
    "IDD's ids": Case("idd", "readme", label(ids(33)), "unknown_ids"),
    "train ids in labelIds": Case("cityscapes", "readme", all_labels(as_train_ids("cityscapes")), "train_ids"),
    "train ids in one labelIds": Case("cityscapes", "official", label(as_train_ids("cityscapes")), "train_ids"),
    "train ids as GTAV's labels": Case("gtav", "official", all_labels(as_train_ids("gtav")), "train_ids"),
    "train ids as Mapillary's": Case("mapillary", "official", all_labels(as_train_ids("mapillary")), "train_ids"),
    "palette in another order": Case("gtav", "readme", label(requantised), "other_palette"),
    "GTAV in colours": Case("gtav", "official", label(mode("RGB")), "stored_as_colours"),
    "GTAV in colours, resized": Case("gtav", "readme", label(smoothed), "unknown_colours"),
    "label without classes": Case("bdd100k", "readme", label(filled(IGNORE)), "void_label"),
    "label all void": Case("gtav", "readme", label(filled(0)), "void_label"),
    "label of zeros": Case("bdd100k", "official", label(filled(0)), "one_class"),
    "label of sky": Case("cityscapes", "readme", label(filled(int(CITYSCAPES_IDS[10]))), "one_class"),
}  # fmt: skip
