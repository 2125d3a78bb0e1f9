"""Data sets of one's own: what is found, how they are divided, what their labels mean, every mistake in one line."""

import json
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets import packed
from datasets.check.__main__ import main as check
from datasets.images import LabelledImages
from datasets.labels import IGNORE, STANDARD
from datasets.own.custom import is_among, lasting_name, titles
from datasets.registry import spec
from support.own_data import SIZE, write_classes, write_own
from support.prepared_data import FORMS, run
from utils.errors import UsageError


def stems(home: Path, split: str = "val", **options: object) -> list[str]:
    return [sample.image.stem for sample in spec(f"custom:{home}", **options).pairs(home, split)]


@pytest.mark.parametrize("suffix", [".jpg", ".bmp", ".tif", ".gif", ".webp", ".PNG", ".jp2"])
def test_any_format_that_pillow_reads(tmp_path: Path, suffix: str) -> None:
    home = write_own(tmp_path / "own", ["one"], suffix=suffix)
    (image, label, name), *others = LabelledImages(spec(f"custom:{home}"), tmp_path, "val")
    assert not others and name == "one" and image.size == SIZE and image.mode == "RGB"
    assert set(np.unique(label)) == {0, 1, 2, IGNORE} and label[20, 0] == 0 and label[20, -1] == 2


@pytest.mark.parametrize("label", [".bmp", ".tif", "_mask.png", "_labelTrainIds.png"])
def test_any_label_without_losses(tmp_path: Path, label: str) -> None:
    home = write_own(tmp_path, ["x.1", "deep/y"], label=label)
    pairs = spec(f"custom:{home}").pairs(home, "val")
    assert [(pair.label.name, pair.name) for pair in pairs] == [(f"y{label}", "deep_y"), (f"x.1{label}", "x.1")]
    assert not pairs.notes


def test_lists_divide(tmp_path: Path) -> None:
    home = write_own(tmp_path, ["a.0", "b", "c", "sub/d", "e"])
    (home / "train.txt").write_text("a.0\nsub/d.png\n\n# a comment\n")
    (home / "val.txt").write_text("images/c.png\n")
    assert stems(home, "train") == ["a.0", "d"] and stems(home, "val") == ["c"]
    (home / "images" / "unlabelled.png").write_bytes((home / "images" / "b.png").read_bytes())  # in no list
    assert spec(f"custom:{home}").pairs(home, "train").split_by == "the list train.txt"
    assert not spec(f"custom:{home}").pairs(home, "train").notes


def test_sub_folders_divide(tmp_path: Path) -> None:
    home = write_own(tmp_path, ["train/a", "train/x/b", "valid/a", "test/c", "d"])
    assert stems(home, "train") == ["a", "b"] and stems(home, "val") == ["a"] and stems(home, "test") == ["c"]
    assert spec(f"custom:{home}").splits == ("train", "val", "test")
    pairs = spec(f"custom:{home}").pairs(home, "val")
    assert [pair.name for pair in pairs] == ["a"] and "d.png" in pairs.notes[0] and len(pairs.notes) == 1


def test_sub_folders_divide_in_any_case(tmp_path: Path) -> None:
    home = write_own(tmp_path, ["Train/a", "Train/b", "VAL/c"])
    assert stems(home, "train", divided=True) == ["a", "b"] and stems(home, divided=True) == ["c"]


def test_lists_of_windows(tmp_path: Path) -> None:
    home = write_own(tmp_path, ["a", "b", "c"])
    (home / "train.txt").write_bytes(b"\xef\xbb\xbfa.png\r\nb.png\r\n")
    assert stems(home, "train") == ["a", "b"]


def test_the_doctor_tells_of_a_list_beside_a_good_one(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    home = write_own(tmp_path, ["a", "b", "c"])
    (home / "val.txt").write_text("c\n")
    (home / "train.txt").write_text("images/a.png labels/a.png\n")
    assert check([f"custom:{home}", "--workers", "1"]) == 1
    assert f"error  {tmp_path.name} train  split_source  {home / 'train.txt'}: 1 of the 1" in capsys.readouterr().out


def test_the_doctor_takes_a_folder_once(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    home = write_own(tmp_path / "city")
    assert check([f"custom:{home}", "--dataset", f"custom:{home}", "--workers", "1"]) == 0
    told = capsys.readouterr().out
    assert told.count("images/ and labels/") == 1 and "nothing wrong" in told
    assert check([str(tmp_path / "none"), "--dataset", f"custom:{home}", "--workers", "1"]) == 0  # as train.py advises
    capsys.readouterr()
    assert check([f"custom:{home}", "--dataset", "gtav"]) == 2
    assert "--dataset gtav: custom:" in capsys.readouterr().err


def test_a_folder_that_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, scandir = write_own(tmp_path, ["a", "sub/b"]), os.scandir

    def forbidden(path: str) -> object:
        if Path(path).name == "sub":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", forbidden)
    with pytest.raises(UsageError, match=r"/sub: cannot be read \(Permission denied\): make it readable"):
        stems(home)


def test_the_doctor_prints_any_name(tmp_path: Path, capfdbinary: pytest.CaptureFixture) -> None:
    home = write_own(tmp_path / "city", ["\udce9"])
    (home / "labels" / "\udce9.png").write_bytes(b"")
    assert check([f"custom:{home}", "--workers", "1"]) == 1
    assert b"\\udce9.png: is empty" in capfdbinary.readouterr().out


def test_a_rule_divides_what_is_trained_on(tmp_path: Path) -> None:
    home = write_own(tmp_path, [f"{number}" for number in range(10)])
    train, val = (stems(home, split, divided=True) for split in ("train", "val"))
    assert len(train) == 8 and len(val) == 2 and {*train, *val} == {*map(str, range(10))}
    assert {*val} == {*sorted(train + val, key=lambda stem: sha256(f"304 custom {stem}".encode()).hexdigest())[8:]}
    (note,) = spec(f"custom:{home}", divided=True).pairs("", "val").notes
    assert "a rule of this project takes 8 of its 10 images" in note
    assert len(stems(home)) == 10  # nothing is trained on
    with pytest.raises(UsageError, match="has no split train, only val"):
        stems(home, "train")


def test_one_image_is_trained_on_and_scored(tmp_path: Path) -> None:
    home = write_own(tmp_path, ["only"])
    for split in ("train", "val"):
        pairs = spec(f"custom:{home}", divided=True).pairs(home, split)
        assert len(pairs) == 1 and "has one image, which is both" in pairs.notes[0]
    assert stems(write_own(tmp_path / "two", ["a", "b"]), "train", divided=True) in (["a"], ["b"])


def test_names_of_folders_are_made_unique() -> None:
    names = ["custom:/a/city", "custom:/b/city", "custom:/c/b/city", "custom:/x y/GTAV", "custom:/a/city", "gtav"]
    called = titles(names)
    assert list(called.values()) == ["city", "b_city", "c_b_city", "x_y_GTAV"]
    assert titles(names[::-1])["custom:/b/city"] == "city" or titles(names[::-1])["custom:/a/city"] == "city"


def test_a_folder_is_known_by_any_path(tmp_path: Path) -> None:
    home = write_own(tmp_path / "own", ["a"])
    (tmp_path / "link").symlink_to(home)
    assert is_among(f"custom:{tmp_path}/link", ["gtav", f"custom:{home}"])
    assert not is_among("gtav", ["gtav"]) and not is_among(f"custom:{tmp_path}", [f"custom:{home}"])


def test_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("here/own", "root/own", "root/other"):
        write_own(tmp_path / folder, ["a"])
    monkeypatch.chdir(tmp_path / "here")
    assert lasting_name("custom:own", tmp_path / "root") == f"custom:{tmp_path}/here/own"
    assert lasting_name("custom:other/", tmp_path / "root") == f"custom:{tmp_path}/root/other"
    with pytest.raises(UsageError, match=r"custom:nowhere: no folder .*here/nowhere or .*root/nowhere"):
        lasting_name("custom:nowhere", tmp_path / "root")


# What labels mean


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


# Mistakes


def take(name: str) -> Callable[[Path], None]:
    return lambda home: (home / name).unlink()


def text(name: str, content: str) -> Callable[[Path], object]:
    return lambda home: (home / name).write_text(content)


def move(name: str, other: str) -> Callable[[Path], object]:
    return lambda home: (home / name).rename(home / other)


def copy(name: str, other: str) -> Callable[[Path], object]:
    def do(home: Path) -> None:
        (home / other).parent.mkdir(parents=True, exist_ok=True)
        Image.open(home / name).save(home / other)

    return do


def every(*deeds: Callable[[Path], object]) -> Callable[[Path], None]:
    return lambda home: [deed(home) for deed in deeds][:0]


def entry(content: str) -> Callable[[Path], object]:
    return text("classes.yaml", content)


MISTAKES = {
    "no images": (move("images", "pictures"), r"own: has no folder images: an own data set is a folder with images/"),
    "no labels": (move("labels", "masks"), r"own: has no folder labels: "),
    "no image": (every(*(take(f"images/{name}.png") for name in "abcde")), r"images: no image found: put images there"),
    "no label": (take("labels/c.png"), r"c.png: has no label .*labels/c.png \(1 of 5 images of own val have none\)"),
    "a label with losses": (
        every(copy("labels/c.png", "labels/c.jpg"), take("labels/c.png")),
        r"c.png: has no label .*labels/c.png",
    ),
    "two suffixes": (copy("images/a.png", "images/a.bmp"), r"images: a.bmp and a.png differ in their suffix only"),
    "one name": (
        every(
            copy("images/a.png", "images/x/b.png"),
            copy("images/a.png", "images/x_b.png"),
            copy("labels/a.png", "labels/x/b.png"),
            copy("labels/a.png", "labels/x_b.png"),
        ),
        r"x/b.png and x_b.png would both be called x_b: rename one",
    ),
    "no val": (text("train.txt", "a\n"), r"own: has no split val, only train: add val.txt, one image per line"),
    "no val folder": (
        every(*(copy(f"{kind}/a.png", f"{kind}/train/a.png") for kind in ("images", "labels"))),
        r"has no split val, only train: add images/val and labels/val",
    ),
    "an empty list": (text("val.txt", "# nothing\n"), r"val.txt: names no image; give one file name per line"),
    "no text": (lambda home: (home / "val.txt").write_bytes(b"\xff\xfe\x00"), r"val.txt: cannot be read .*text file"),
    "in both lists": (
        every(text("val.txt", "a\nb.png"), text("train.txt", "b\nc")),
        r"val.txt: b.png is also in train.txt: leave it",
    ),
    "not there": (text("val.txt", "a\nz\n"), r"val.txt: 1 of the 2 images in val.txt are not there, z: complete"),
    "other name": (text("classes.yml", "ids: {0: road}"), r"classes.yml: is not read; call it classes.yaml"),
    "no entries": (entry(""), r"classes.yaml: has no entries: give some of classes, ids"),
    "a list": (entry("- road\n"), r"classes.yaml: has no entries: give some of classes, ids"),
    "no yaml": (entry("ids: {7: road\n"), r"classes.yaml: line 2: .*: mend that"),
    "tabs": (entry("ids:\n\t7: road\n"), r"classes.yaml: line 2: .*: mend that"),
    "no utf-8": (lambda home: (home / "classes.yaml").write_bytes(b"\xff\xfe\x00"), r"classes.yaml: cannot be read"),
    "unknown entry": (entry("id: {7: road}"), r"classes.yaml: id is not known: give some of classes, ids"),
    "an id twice": (entry("ids: {7: road, 7: sky}"), r"classes.yaml: line 1: 7 stands there twice"),
    "ids and colours": (entry('ids: {7: 0}\ncolours: {"1,1,1": 0}'), r"colours cannot stand beside ids"),
    "no class": (entry("ids: {7: strasse}"), r"classes.yaml: ids: 7: strasse is no class: choose one of road, side"),
    "a class too high": (entry("ids: {7: 19}"), r"classes.yaml: ids: 7: 19 is no class"),
    "yes": (entry("ids: {7: yes}"), r"classes.yaml: ids: 7: True is no class"),
    "no id": (entry("ids: {road: 7}"), r"classes.yaml: ids: 'road' is no id: give whole numbers from 0 to 255"),
    "an id in quotation marks": (entry('ids: {"7": road}'), r"ids: '7' is no id: .*without quotation marks"),
    "a name of two classes": (entry("names: {road: sky}"), r"classes.yaml: names: road is another class already"),
    "a number of two classes": (entry("names: {0: sky}"), r"classes.yaml: names: 0 is another class already"),
    "a list called a map": (entry("ids: !!map [a]"), r"classes.yaml: line 1: expected a mapping"),
    "a dead link": (lambda home: (home / "classes.yaml").symlink_to("nowhere"), r"classes.yaml: cannot be read"),
    "an id too high": (entry("ids: {256: road}"), r"classes.yaml: ids: 256 is no id"),
    "ids of nothing": (entry("ids: road"), r"classes.yaml: ids is no map: give ids with classes, as 7: road"),
    "no colour": (entry('colours: {"128,64": road}'), r"colours: 128,64 is no colour: give red, green and blue as"),
    "a colour too high": (entry('colours: {"1,2,256": road}'), r"colours: 1,2,256 is no colour"),
    "a colour twice": (entry('colours: {"1,2,3": road, "#010203": sky}'), r"colours: #010203 stands there twice"),
    "no colours": (entry("colours: [road]"), r"classes.yaml: colours is no map"),
    "one class": (entry("classes: [road]"), r"classes.yaml: classes are no list: give the names of 2 to 254 classes"),
    "a class twice": (entry("classes: [a, b, a]"), r"classes.yaml: classes: a stands there twice"),
    "a class named no": (entry("classes: [yes, no]"), r"classes: True is no name of a class: give a text, in quot"),
    "a class named ignore": (entry("classes: [a, ignore]"), r"classes: 'ignore' is no name of a class"),
    "own names of nothing": (entry("names: {street: way}"), r"classes.yaml: names: street: way is no class"),
    "a suffix of numbers": (entry("label_suffix: 5"), r"classes.yaml: label_suffix 5 is no text: give e.g. _labelIds"),
    "ids that are not named": (
        entry("ids: {0: road, 2: sky}"),
        r"a.png: holds the ids 1, but own has 0, 2 and 255: name",
    ),
    "more ids than classes": (entry("classes: [a, b]"), r"a.png: holds the ids 2, but own has 0 to 1 and 255: name"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_every_mistake_is_one_line(name: str, tmp_path: Path) -> None:
    spoil, expected = MISTAKES[name]
    home = write_own(tmp_path / "own")
    spoil(home)
    with pytest.raises(UsageError, match=expected) as raised:
        images = LabelledImages(spec(f"custom:{home}"), tmp_path, "val")
        _ = images[0]
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (
            Image.new("L", SIZE, 40),
            r"a.png: holds the ids 40, but own has 0 to 18 and 255: name what they mean in .*yaml",
        ),
        (Image.new("RGB", SIZE), r"a.png: is a colour image where own labels are class indices"),
        (Image.new("L", (9, 9)), r"a.png: is 64x40 but its label .*a.png is 9x9: take this pair away"),
        (Image.new("I;16", SIZE), r"a.png: unreadable label \(mode I"),
    ],
)
def test_labels_are_checked(picture: Image.Image, expected: str, tmp_path: Path) -> None:
    home = write_own(tmp_path / "own")
    picture.save(home / "labels" / "a.png")
    with pytest.raises(UsageError, match=expected):
        _ = LabelledImages(spec(f"custom:{home}"), tmp_path, "val")[0]


# Doctor and copies


def test_the_doctor_knows_own_data(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    home = write_own(tmp_path / "own", ["train/a", "train/b", "val/c"])
    assert check([f"custom:{home}", "--workers", "1"]) == 0
    told = capsys.readouterr().out
    assert "own       train" in told and "own       val" in told and "nothing wrong" in told
    (home / "labels" / "train" / "b.png").write_bytes(b"")
    Image.new("L", SIZE, 77).save(home / "labels" / "val" / "c.png")
    (home / "images" / "val" / "b.png").write_bytes((home / "images" / "train" / "b.png").read_bytes())
    Image.new("L", SIZE).save(home / "labels" / "val" / "b.png")
    command = [str(tmp_path), "--dataset", f"custom:{home}", "--workers", "1", "--json", str(tmp_path / "found.json")]
    assert check(command) == 1
    codes = {finding["code"] for finding in json.loads((tmp_path / "found.json").read_text())["findings"]}
    assert codes == {"empty_file", "unknown_ids", "double", "one_class"}
    (home / "labels").rename(home / "masks")
    assert check([f"custom:{home}"]) == 2 and "has no folder labels" in capsys.readouterr().err


@pytest.mark.parametrize("form", FORMS)
def test_packed_copies(form: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    home = write_own(tmp_path / "own", suffix=".jpg")
    before = [(np.asarray(image), label) for image, label, _ in LabelledImages(spec(f"custom:{home}"), "", "val")]
    run(tmp_path, "--packed", form, "--datasets", f"custom:{home}")
    images = LabelledImages(spec(f"custom:{home}", title="other"), tmp_path / "elsewhere", "val")
    assert len(images.copies) == 5 and all(copy.is_relative_to(home / "packed") for copy in images.copies.values())
    for (image, label), (loaded, ids, _) in zip(before, images, strict=True):
        assert (image == np.asarray(loaded)).all() and (label == ids).all()
    Image.new("L", SIZE).save(home / "labels" / "a.png")
    with pytest.raises(UsageError, match=rf"pack again .*--datasets custom:{home}`"):
        LabelledImages(spec(f"custom:{home}"), "", "val")
    capsys.readouterr()
    run(tmp_path, "--packed", form, "--datasets", f"custom:{home}", "--out", str(tmp_path / "out"), code=2)
    assert "lies in its own folder" in capsys.readouterr().err
