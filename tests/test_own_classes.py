"""What the labels of an own data set mean, and every mistake in it in one line."""

from collections.abc import Callable
from pathlib import Path

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
        ("classes: [ground, thing]\nids: {7: ground, 8: thing, 30: ground}", [0, 1, 0], 2),
        ('classes: {ground: "1,2,3", thing: "#ff0000"}\nids: {7: 1, others: ignore}', [1, IGNORE, IGNORE], 2),
        (f"ids: [{'sky, ' * 8} ignore{', wall' * 22}]", [10, IGNORE, 3], 19),
    ],
)
def test_maps_of_ids(tmp_path: Path, text: str, expected: list[int], count: int) -> None:
    home = write_own(tmp_path, ["a"], ids=(7, 8, 30))
    assert classes_of(home, text) == (expected, count)


def test_colours_of_classes(tmp_path: Path) -> None:
    home = write_own(tmp_path, ["a"])
    assert classes_of(home, 'classes: {x: "1,2,3", road: , y: "#090909", z: }') == ([0, 1, 2], 4)
    x, road, y, z = spec(f"custom:{home}").classes.colours
    assert (x, road, y) == ((1, 2, 3), STANDARD.colours[0], (9, 9, 9)) and z not in (x, road, y)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_maps_of_colours(tmp_path: Path, mode: str) -> None:
    home = write_own(tmp_path, ["a"])
    picture = Image.open(home / "labels" / "a.png")
    picture.putpalette([128, 64, 128, 0, 0, 9, 200, 100, 0, *[0] * 759])
    picture.convert(mode).save(home / "labels" / "a.png")
    known = '"128,64,128": road, "#000009": sky, "200,100,0": ignore'
    assert classes_of(home, f'colours: {{{known}, "0,0,0": ignore}}') == ([0, 10, IGNORE], 19)
    assert classes_of(home, f"colours: {{{known}, others: ignore}}") == ([0, 10, IGNORE], 19)
    with pytest.raises(UsageError, match=r'a.png: holds colours that .* does not have \("0,0,0"\): list the `ids`'):
        classes_of(home, f"colours: {{{known}}}")
    with pytest.raises(UsageError, match=r'\("0,0,0", "0,0,9", "128,64,128"\)'):
        classes_of(home, 'colours: {"200,100,0": ignore}')


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


def write(name: str, text: str) -> Callable[[Path], object]:
    return lambda home: (home / name).write_text(text)


def copy(name: str, other: str) -> Callable[[Path], object]:
    def copied(home: Path) -> None:
        (home / other).parent.mkdir(parents=True, exist_ok=True)
        Image.open(home / name).save(home / other)

    return copied


def label(picture: Image.Image) -> Callable[[Path], object]:
    return lambda home: picture.save(home / "labels" / "a.png")


MISTAKES = {
    "no labels": (
        lambda home: (home / "labels").rename(home / "masks"), r"own: has no folder labels, it has images, masks:"),
    "no image": (
        *(take(f"images/{name}.png") for name in "abcde"), write("images/a.HEIC", ""),
        r"images: no image that Pillow reads, it has a.HEIC: give"),
    "no label": (take("labels/c.png"), r"c.png: has no label .*labels/c.png \(1 of 5 images of own val\)"),
    "a label with losses": (
        copy("labels/c.png", "labels/c.jpg"), take("labels/c.png"), r"c.png: has no label .*labels/c.jpg is no mask"),
    "polygons": (write("labels/c.json", "{}"), take("labels/c.png"), r"labels/c.json is no mask: export PNG masks"),
    "two suffixes": (copy("images/a.png", "images/a.bmp"), r"images: a.bmp and a.png would both be called a: rename"),
    "one name": (
        *(copy(f"{folder}/a.png", f"{folder}/x{end}b.png") for folder in ("images", "labels") for end in "/_"),
        r"x/b.png and x_b.png would both be called x_b: rename one"),
    "no val": (write("train.txt", "a\n"), r"own: has no split val, only train: docs/datasets.md says which lists"),
    "an empty list": (write("val.txt", "# nothing\n"), r"val.txt: names no image: give .* per line, or delete it"),
    "no name in a list": (write("val.txt", "images/\n"), r"val.txt: 1 of the 1 images .* not there: images/: complete"),
    "a huge list": (write("val.txt", "x" * 9_000_000), r"val.txt: 1 of the 1 images .*: xxx.* \.\.\. .*: complete"),
    "two labels": (copy("labels/c.png", "labels/c.tif"), r"labels: c.png and c.tif label the same image: take"),
    "other name": (write("classes.yml", "ids: {0: road}"), r"classes.yml: is not read; call it classes.yaml"),
    "other case": (write("Classes.yaml", "ids: {0: road}"), r"Classes.yaml: is not read; call it classes.yaml"),
    "a dead link": (lambda home: (home / "classes.yaml").symlink_to("nowhere"), r"classes.yaml: .*No such file"),
    "an id too many": (label(Image.new("L", SIZE, 40)), r"a.png: holds the ids 40, but own has 0 to 18 and 255: list"),
    "a colour image": (label(Image.new("RGB", SIZE, "red")), r"a.png: is a colour image where own labels are class"),
}  # fmt: skip
WRONG_ENTRIES = {
    "": r"its content is no entry: give some of classes, ids",
    "- road\n": r"its content is no entry: give",
    "id: {7: road}": r"id is no entry: give",
    "ids: {7: road\n": r"line 2: ",
    "ids: {7: road, 7: sky}": r"line 1: 7 stands there twice",
    'ids: {7: 0}\ncolours: {"1,1,1": 0}': r"labels store ids or colours: give one",
    "ids: {7: strasse}": r"ids: 7: strasse is no class: choose ignore or one of road, side",
    "ids: {7: 19}": r"ids: 7: 19 is no class",
    "ids: {7: yes}": r"ids: 7: True is no class",
    'ids: {"7": road}': r"ids: '7' is no whole number from 0 to 255, without quotation marks",
    "ids: {256: road}": r"ids: 256 is no whole number",
    "ids: road": r"ids: give a map of 1 to 256 ids to classes",
    'colours: {"128,64": road}': r"128,64 is no colour: write \"128,64,128\" or",
    'colours: {"1,2,256": road}': r"1,2,256 is no colour",
    'colours: {"1,2,3": road, "#010203": sky}': r"colours: give 1 to 255 colours, each once",
    "colours: [road]": r"colours: give a map",
    "colours:\n  #102030: road": r"colours: give a map .* a # needs quotation marks",
    "classes: {road: [1, 2, 3], sky: }": r"\[1, 2, 3\] is no colour: write",
    "classes: [road]": r"classes: give 2 to 254 names",
    "classes: [a, b, a]": r"classes: give .* names, each once",
    "classes: [yes, no]": r"classes: give .* as text.*: True, False",
    "classes: [a, ignore]": r"classes: give .* but not others or ignore",
    "label_suffix: 5": r"label_suffix: 5 is no text",
    "ids: {0: &a [x, x], 1: &b [*a, *a], 2: [*b, *b]}": r"line 1: write out the alias",
    f"classes: {'[' * 5000}": r"is no YAML: maximum recursion depth",
    f"ids: {{{', '.join(f'{number}: 0' for number in range(50_000))}}}": r"is longer than 100,000 characters: leave",
    f"ids: {{0: {'x' * 90_000}}}": r"ids: 0: xxx.* \.\.\. .*road, sidewalk.*; docs/datasets.md",
}
WRONG_LABELS = {
    "ids: {0: road, 2: sky}": r"a.png: holds the ids 1, but own has 0, 2 and 255: list the `ids` .*yaml",
    "classes: [a, b]": r"a.png: holds the ids 2, but own has 0 to 1 and 255: list",
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
    assert "\n" not in str(raised.value) and len(str(raised.value)) <= 2000
