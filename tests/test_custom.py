"""Own data sets: which files are read, how they are divided and named, the doctor, packed copies."""

import json
import os
import unicodedata
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.check.__main__ import main
from datasets.images import LabelledImages
from datasets.labels import IGNORE
from datasets.own.custom import is_among, lasting_name
from datasets.registry import spec, titles
from datasets.sampling.class_tiles import key
from engine.data_report import fingerprint
from support.own_data import SIZE, write_classes, write_own
from support.prepared_data import FORMS, run
from support.programs import exit_code
from utils.errors import UsageError
from utils.files import write_text


def check(arguments: list[str]) -> int:
    return exit_code("datasets.check", main, arguments)


def stems(home: Path, split: str = "val", **options: object) -> list[str]:
    return [sample.image.stem for sample in spec(f"custom:{home}", **options).pairs(home, split)]


@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".gif", ".webp", ".sgi", ".PNG"])
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
    assert not pairs.notes and pairs.layout == "images/ and labels/ with the 19 train ids"
    write_classes(tmp_path, "ids: [road, sidewalk, ignore]")
    assert spec(f"custom:{tmp_path}").layouts[0].name == "images/ and labels/"


@pytest.mark.parametrize("names", ["img_{}.png mask_{}.png", "{}_rgb.jpg {}_gt_ids.png", "a_{}_b.png c_{}_d.gif"])
def test_names_that_replace_parts(tmp_path: Path, names: str) -> None:
    image, label = (Path(name) for name in names.split())
    write_own(tmp_path / "i", ["x/1", "x/2", "3"])
    for folder, form in (("images", image), ("labels", label)):
        for path in [*(tmp_path / "i" / folder).rglob("*.png")]:
            target = (
                tmp_path / folder / path.relative_to(tmp_path / "i" / folder).with_name(form.name.format(path.stem))
            )
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.open(path).save(target)
    parts = [part for form in (image, label) for part in form.stem.split("{}")]
    with pytest.raises(
        UsageError, match=f"has no label .*{image.stem.format(3)}.png .* say how names differ: image_prefix, "
    ):
        stems(tmp_path)
    keys = ("image_prefix", "image_suffix", "label_prefix", "label_suffix")
    write_classes(tmp_path, "".join(f"{key}: '{part}'\n" for key, part in zip(keys, parts, strict=True) if part))
    pairs = spec(f"custom:{tmp_path}").pairs("", "val")
    assert [pair.label.name for pair in pairs] == [label.name.format(name) for name in "312"] and not pairs.notes


def test_a_label_belongs_to_one_image(tmp_path: Path) -> None:
    home = write_own(tmp_path, ["a", "a_mask"])
    (home / "labels" / "a.png").unlink()
    with pytest.raises(UsageError, match=r"a.png: has no label .*/a.png \(1 of 2 images"):
        stems(home)
    (home / "labels" / "a_mask.png").rename(home / "labels" / "a_mask_label.png")
    (home / "labels" / "a.png.png").write_bytes((home / "labels" / "a_mask_label.png").read_bytes())
    assert [pair.label.stem for pair in spec(f"custom:{home}").pairs("", "val")] == ["a.png", "a_mask_label"]


@pytest.mark.parametrize(("image", "label", "listed"), [("NFC", "NFD", "NFD"), ("NFD", "NFC", "NFC")])
def test_names_that_look_alike_are_alike(tmp_path: Path, image: str, label: str, listed: str) -> None:
    home = write_own(tmp_path, ["a", "b"])
    image, label, listed = (unicodedata.normalize(form, "Straße_é") for form in (image, label, listed))
    (home / "images" / "a.png").rename(home / "images" / f"{image}.png")
    (home / "labels" / "a.png").rename(home / "labels" / f"{label}.png")
    (home / "val.txt").write_text(f"{listed}.png\n")
    (pair,) = spec(f"custom:{home}").pairs("", "val")
    assert (pair.image.stem, pair.label.stem, pair.name) == (image, label, "Straße_é")


def test_files_of_the_system_are_never_read(tmp_path: Path) -> None:
    home = write_own(tmp_path, ["a", "._a", "__MACOSX/a", ".ipynb_checkpoints/a-checkpoint"])
    pairs = spec(f"custom:{home}").pairs("", "val")
    assert [pair.name for pair in pairs] == ["a"] and not pairs.notes


def test_lists_divide(tmp_path: Path) -> None:
    home = write_own(tmp_path, ["a.0", "b", "c", "sub/d", "e"])
    (home / "train.txt").write_bytes(b"\xef\xbb\xbfa.0\r\nsub/d.png\r\n\r\n# a comment\r\n")  # as Windows writes
    (home / "val.txt").write_text("images/c.png\n")
    assert stems(home, "train") == ["a.0", "d"] and stems(home, "val") == ["c"]
    (home / "images" / "unlabelled.png").write_bytes((home / "images" / "b.png").read_bytes())  # in no list
    pairs = spec(f"custom:{home}").pairs(home, "train")
    assert pairs.split_by == "the list train.txt" and not pairs.notes


@pytest.mark.parametrize("name", ["valid.txt", "validation.txt", "Val.txt", "VALID.TXT"])
def test_lists_have_the_names_of_folders(name: str, tmp_path: Path) -> None:
    home = write_own(tmp_path, ["a", "b"])
    (home / name).write_text("b\n")
    assert stems(home) == ["b"] and spec(f"custom:{home}").splits == ("val",)
    (home / "val.txt").symlink_to("nowhere")
    with pytest.raises(UsageError, match=r"val.txt: cannot be read .*No such file"):
        stems(home)


def test_links_that_have_no_end(tmp_path: Path) -> None:
    """As ``ln -s`` makes them when it is called twice, and two of them: 2^40 paths."""
    home = write_own(tmp_path / "own", ["a"])
    write_own(tmp_path / "other", ["b"])
    for folder in ("images", "labels"):
        for name, target in {
            "one": ".",
            folder: home / folder,
            "up": "..",
            "real": tmp_path / "other" / folder,
        }.items():
            (home / folder / name).symlink_to(target)
    assert stems(home) == ["a", "b"]


def test_names_in_an_old_encoding(tmp_path: Path) -> None:
    """In Latin-1 the file names of older archives are no UTF-8."""
    home = write_own(tmp_path / "\udcfc", [f"\udcff{number}" for number in range(5)])
    pairs = spec(f"custom:{home}", divided=True).pairs("", "train")
    assert len(pairs) == 4 and len(key(spec(f"custom:{home}"), list(pairs), 8)) == len(fingerprint(list(pairs))) == 16
    write_text(home / "list", pairs[0].name)
    assert (home / "list").read_bytes() == os.fsencode(pairs[0].name)


def test_sub_folders_divide(tmp_path: Path) -> None:
    home = write_own(tmp_path, ["Train/a", "Train/x/b", "valid/a", "test/c", "d"])
    for divided in (False, True):
        assert stems(home, "train", divided=divided) == ["a", "b"] and stems(home, "test", divided=divided) == ["c"]
    assert spec(f"custom:{home}").splits == ("train", "val", "test")
    pairs = spec(f"custom:{home}").pairs(home, "val")
    assert [pair.name for pair in pairs] == ["a"] and "d.png" in pairs.notes[0] and len(pairs.notes) == 1


def test_a_folder_that_may_not_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, scandir = write_own(tmp_path, ["a", "sub/b"]), os.scandir

    def forbidden(path: str) -> object:
        if Path(path).name == "sub":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", forbidden)
    with pytest.raises(UsageError, match=r"/sub: cannot be read \(Permission denied\): make it readable"):
        stems(home)


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
    assert stems(write_own(tmp_path / "two", ["a", "b"]), "train", divided=True) in (["a"], ["b"])


def test_names_of_folders_are_made_unique() -> None:
    names = ["custom:/a/city", "custom:/b/city", "custom:/c/b/city", "custom:/x y/GTAV", "custom:/a/city", "gtav"]
    called = titles(names)
    assert list(called.values()) == ["city", "b_city", "c_b_city", "x_y_GTAV"]


def test_relative_paths_and_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("here/own", "root/own", "root/other"):
        write_own(tmp_path / folder, ["a"])
    monkeypatch.chdir(tmp_path / "here")
    assert lasting_name("custom:own", tmp_path / "root") == f"custom:{tmp_path}/here/own"
    assert lasting_name("custom:other/", tmp_path / "root") == f"custom:{tmp_path}/root/other"
    with pytest.raises(UsageError, match=r"custom:nowhere: no folder .*here/nowhere or .*root/nowhere"):
        lasting_name("custom:nowhere", tmp_path / "root")
    home = f"custom:{tmp_path}/root/own"
    (tmp_path / "link").symlink_to(tmp_path / "root" / "own")
    assert is_among(f"custom:{tmp_path}/link", ["gtav", home])
    assert not is_among("gtav", ["gtav"]) and not is_among(f"custom:{tmp_path}", [home])


def test_the_doctor_knows_own_data(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    home = write_own(tmp_path / "own", ["train/a", "train/b", "val/c"])
    assert check([f"custom:{home}", "--dataset", f"custom:{home}"]) == 0
    printed = capfd.readouterr().out
    assert printed.count("own       train") == 1 and "own       val" in printed and "nothing wrong" in printed
    (home / "labels" / "train" / "b.png").write_bytes(b"")
    Image.new("L", SIZE, 77).save(home / "labels" / "val" / "c.png")
    (home / "images" / "val" / "b.png").write_bytes((home / "images" / "train" / "b.png").read_bytes())
    Image.new("L", SIZE).save(home / "labels" / "val" / "b.png")
    file = tmp_path / "report.json"
    assert check([str(tmp_path / "none"), "--dataset", f"custom:{home}", "--json", str(file)]) == 1
    codes = {finding["code"] for finding in json.loads(file.read_text())["findings"]}
    assert codes == {"bad_label", "double", "plain_label"}
    (home / "train.txt").write_text("images/a.png labels/a.png\n")
    (home / "labels" / "train" / "b.png").rename(home / "labels" / "train" / "\udce9.png")  # any name is printed
    assert check([f"custom:{home}"]) == 1
    assert f"error  own train  refused_split  {home / 'train.txt'}: 1 of the 1" in capfd.readouterr().out
    assert check([f"custom:{home}", "--dataset", "gtav"]) == 2
    assert "no data set recognised in a folder GTAV" in capfd.readouterr().err
    assert check([f"custom:{home}", "--json", os.devnull]) == 2
    assert "refused_split" in capfd.readouterr().out  # the work is not lost
    (home / "labels").rename(home / "masks")
    assert check([f"custom:{home}"]) == 2 and "has no folder labels" in capfd.readouterr().err


@pytest.mark.parametrize("form", FORMS)
def test_packed_copies(form: str, tmp_path: Path) -> None:
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
