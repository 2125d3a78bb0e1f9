"""What the labels of an own data set mean, and every mistake in it in one line."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets import packed
from datasets.images import LabelledImages
from datasets.labels import IGNORE, STANDARD
from datasets.registry import spec
from support.own_data import SIZE, write_classes, write_own
from utils.errors import UsageError


def classes_of(home: Path, text: str) -> tuple[list[int], int]:
    """The classes of the three parts of a label, and how many classes there are."""
    row = spec(f"custom:{write_classes(home, text)}")
    label = row.decode(row.pairs(home, "val")[0].label)
    assert (label[:3] == IGNORE).all()
    return label[20, [0, 32, 63]].tolist(), len(row.classes)


@pytest.mark.parametrize(
    ("text", "expected", "count"),
    [
        ("ids: {7: road, 8: sidewalk, 30: ignore}", [0, 1, IGNORE], 19),
        ("ids: {7: road, others: sky}", [0, 10, 10], 19),
        ("ids: {7: 13, 8: 255, 30: 2}", [13, IGNORE, 2], 19),
        ("names: {street: road, tree: 8}\nids: {7: street, 8: tree, 30: sky}", [0, 8, 10], 19),
        ("classes: [ground, thing]\nids: {7: ground, 8: thing, 30: ground}", [0, 1, 0], 2),
        ('classes: {ground: "1,2,3", thing: "#ff0000"}\nids: {7: 1, others: ignore}', [1, IGNORE, IGNORE], 2),
    ],
)
def test_maps_of_ids(tmp_path: Path, text: str, expected: list[int], count: int) -> None:
    home = write_own(tmp_path, ["a"], ids=(7, 8, 30))
    assert classes_of(home, text) == (expected, count)


def test_ids_in_a_list_and_colours_of_classes(tmp_path: Path) -> None:
    home = write_own(tmp_path, ["a"])
    assert classes_of(home, "ids: [sky, ignore, road]") == ([10, IGNORE, 0], 19)
    assert classes_of(home, 'classes: {x: "1,2,3", road: , y: [9, 9, 9], z: }') == ([0, 1, 2], 4)
    x, road, y, z = spec(f"custom:{home}").classes.colours
    assert (x, road, y) == ((1, 2, 3), STANDARD.colours[0], (9, 9, 9)) and z not in (x, road, y)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_maps_of_colours(tmp_path: Path, mode: str) -> None:
    home = write_own(tmp_path, ["a"])
    path = home / "labels" / "a.png"
    stored = np.asarray(Image.open(path))
    palette = np.zeros((256, 3), np.uint8)
    palette[[0, 1, 2]] = (128, 64, 128), (0, 0, 9), (200, 100, 0)
    picture = Image.fromarray(palette[stored]).convert(mode) if mode != "P" else Image.fromarray(stored).convert("P")
    if mode == "P":
        picture.putpalette(palette.ravel().tolist())
    picture.save(path)
    known = '"128,64,128": road, "#000009": sky, "200,100,0": ignore'
    assert classes_of(home, f'colours: {{{known}, "0,0,0": ignore}}') == ([0, 10, IGNORE], 19)
    assert classes_of(home, f"colours: {{{known}, others: ignore}}") == ([0, 10, IGNORE], 19)
    with pytest.raises(UsageError, match=r"a.png: holds the colour 0,0,0, which .* does not have: name what they mean"):
        classes_of(home, f"colours: {{{known}}}")


def test_files_are_called_after_how_labels_are_read(tmp_path: Path) -> None:
    """Equal tables with other classes, or other colours in the same places, must not share what is made of them."""
    home, seen = write_own(tmp_path), set()
    for text in (
        "ids: {0: road, 1: 1}", "classes: [road, b]\nids: {0: road, 1: 1}", "ids: {0: road, 1: 1, 2: ignore}",
        'colours: {"1,1,1": 0, "2,2,2": 1}', 'colours: {"1,1,1": 0, "2,2,3": 1}',
    ):  # fmt: skip
        seen.add(packed.home(home, spec(f"custom:{write_classes(home, text)}")))
    assert len(seen) == 5


def take(name: str) -> Callable[[Path], object]:
    return lambda home: (home / name).unlink()


def write(name: str, content: str | bytes) -> Callable[[Path], object]:
    return lambda home: (home / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def move(name: str, other: str) -> Callable[[Path], object]:
    return lambda home: (home / name).rename(home / other)


def copy(name: str, other: str) -> Callable[[Path], object]:
    def copied(home: Path) -> None:
        (home / other).parent.mkdir(parents=True, exist_ok=True)
        Image.open(home / name).save(home / other)

    return copied


def label(picture: Image.Image) -> Callable[[Path], object]:
    return lambda home: picture.save(home / "labels" / "a.png")


MISTAKES = {
    "no images": (move("images", "pictures"), r"own: has no folder images: an own data set is a folder with images/"),
    "no labels": (move("labels", "masks"), r"own: has no folder labels: "),
    "no image": (*(take(f"images/{name}.png") for name in "abcde"), r"images: no image found: put images there"),
    "no label": (take("labels/c.png"), r"c.png: has no label .*labels/c.png \(1 of 5 images of own val\)"),
    "a label with losses": (
        copy("labels/c.png", "labels/c.jpg"), take("labels/c.png"), r"c.png: has no label .*labels/c.png"),
    "two suffixes": (copy("images/a.png", "images/a.bmp"), r"images: a.bmp and a.png differ in their suffix only"),
    "one name": (
        *(copy(f"{folder}/a.png", f"{folder}/x{end}b.png") for folder in ("images", "labels") for end in "/_"),
        r"x/b.png and x_b.png would both be called x_b: rename one"),
    "no val": (write("train.txt", "a\n"), r"own: has no split val, only train: add val.txt, one image per line"),
    "no val folder": (
        *(copy(f"{folder}/a.png", f"{folder}/train/a.png") for folder in ("images", "labels")),
        r"has no split val, only train: add images/val and labels/val"),
    "an empty list": (write("val.txt", "# nothing\n"), r"val.txt: names no image: give one file name per line"),
    "no text": (write("val.txt", b"\xff\xfe\x00"), r"val.txt: cannot be read .*text file"),
    "in both lists": (
        write("val.txt", "a\nb.png"), write("train.txt", "b\nc"), r"val.txt: b.png is also in .*train.txt: leave it"),
    "not there": (write("val.txt", "a\nz\n"), r"val.txt: 1 of the 2 images of own val are not there: z: complete"),
    "other name": (write("classes.yml", "ids: {0: road}"), r"classes.yml: is not read; call it classes.yaml"),
    "no utf-8": (write("classes.yaml", b"\xff\xfe\x00"), r"classes.yaml: cannot be read"),
    "a dead link": (lambda home: (home / "classes.yaml").symlink_to("nowhere"), r"classes.yaml: cannot be read"),
    "an id too many": (label(Image.new("L", SIZE, 40)), r"a.png: holds the ids 40, but own has 0 to 18 and 255: name"),
    "a colour image": (label(Image.new("RGB", SIZE)), r"a.png: is a colour image where own labels are class indices"),
    "two sizes": (label(Image.new("L", (9, 9))), r"a.png: is 64x40 but its label .*a.png is 9x9: fetch both"),
    "16 bits": (label(Image.new("I;16", SIZE)), r"a.png: unreadable label \(mode I"),
}  # fmt: skip


WRONG_ENTRIES = {
    "": r"has no entries: give some of classes, ids",
    "- road\n": r"has no entries: give some of classes, ids",
    "ids: {7: road\n": r"line 2: .*: correct it",
    "ids: !!map [a]": r"line 1: expected a mapping",
    "id: {7: road}": r"id is not known: give some of classes, ids",
    "ids: {7: road, 7: sky}": r"line 1: 7 stands there twice",
    'ids: {7: 0}\ncolours: {"1,1,1": 0}': r"colours cannot stand beside ids",
    "ids: {7: strasse}": r"ids: 7: strasse is no class: choose one of road, side",
    "ids: {7: 19}": r"ids: 7: 19 is no class",
    "ids: {7: yes}": r"ids: 7: True is no class",
    'ids: {"7": road}': r"ids: '7' is no id: give whole numbers from 0 to 255 without quotation marks",
    "ids: {256: road}": r"ids: 256 is no id",
    "ids: road": r"ids is no map: give ids with classes, as 7: road",
    "names: {road: sky}": r"names: road is another class already",
    "names: {street: way}": r"names: street: way is no class",
    'colours: {"128,64": road}': r"colours: 128,64 is no colour: give red, green and blue as",
    'colours: {"1,2,256": road}': r"colours: 1,2,256 is no colour",
    'colours: {"1,2,3": road, "#010203": sky}': r"colours: #010203 stands there twice",
    "colours: [road]": r"colours is no map",
    "classes: [road]": r"classes are no list: give the names of 2 to 254 classes",
    "classes: [a, b, a]": r"classes: a stands there twice",
    "classes: [yes, no]": r"classes: True is no name of a class: give a text, in quot",
    "classes: [a, ignore]": r"classes: 'ignore' is no name of a class",
    "label_suffix: 5": r"label_suffix 5 is no text: give e.g. _labelIds",
}
WRONG_LABELS = {
    "ids: {0: road, 2: sky}": r"a.png: holds the ids 1, but own has 0, 2 and 255: name what they mean in .*yaml",
    "classes: [a, b]": r"a.png: holds the ids 2, but own has 0 to 1 and 255: name",
}
MISTAKES |= {text: (write("classes.yaml", text), rf"own/classes.yaml: {end}") for text, end in WRONG_ENTRIES.items()}
MISTAKES |= {text: (write("classes.yaml", text), end) for text, end in WRONG_LABELS.items()}


@pytest.mark.parametrize("name", MISTAKES)
def test_every_mistake_is_one_line(name: str, tmp_path: Path) -> None:
    *spoils, expected = MISTAKES[name]
    home = write_own(tmp_path / "own")
    for spoil in spoils:
        spoil(home)
    with pytest.raises(UsageError, match=expected) as raised:
        _ = LabelledImages(spec(f"custom:{home}"), tmp_path, "val")[0]
    assert "\n" not in str(raised.value)
