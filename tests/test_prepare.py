"""What ``datasets.prepare`` makes: the right bytes, once, whole or not at all; packed copies change nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datasets import making, packed, prepare
from datasets.demo import write_demo
from datasets.folder import LabelledImages
from datasets.loaders import Domains, Request, eval_loader
from datasets.polygons import rasterise
from datasets.specs import spec
from datasets.transforms import Augmentation
from utils.errors import UsageError

ROOT = Path(__file__).parent.parent
FORMS = [form for form in packed.FORMS if form == "raw" or packed.can_zstd()]
SHAPE = {"imgWidth": 40, "imgHeight": 24, "objects": [{"label": "car", "polygon": [[3, 2], [30, 4], [20, 20]]}]}


@pytest.fixture
def root(data: Path, tmp_path: Path) -> Path:
    """A data root of its own, the times of its files kept."""
    shutil.copytree(data, tmp_path / "root")
    return tmp_path / "root"


def run(*arguments: str | Path, code: int = 0) -> None:
    assert prepare.main([*map(str, arguments), "--workers", "1"]) == code


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def only_bytes(folder: Path) -> dict[str, bytes]:
    return {name: data for name, (data, _) in contents(folder).items()}


def add_polygons(root: Path, count: int = 3, folder: str = "idd") -> list[Path]:
    place = root / folder / "gtFine" / "train" / "7"
    place.mkdir(parents=True)
    paths = [place / f"{number}_gtFine_polygons.json" for number in range(count)]
    for path in paths:
        path.write_text(json.dumps(SHAPE))
    return paths


def masks(root: Path) -> list[Path]:
    return sorted(root.rglob("*_gtFine_labelcsTrainIds.png"))


def test_masks_lie_beside_their_polygons(tmp_path: Path) -> None:
    first, second = add_polygons(tmp_path, folder="idd"), add_polygons(tmp_path, folder="IDD_Segmentation")
    others = add_polygons(tmp_path, folder="cityscapes")
    run(tmp_path)
    assert len(masks(tmp_path)) == 6 and not masks(others[0].parent)
    for polygons in (*first, *second):
        mask = polygons.with_name(polygons.name.replace("polygons.json", "labelcsTrainIds.png"))
        with Image.open(mask) as image:
            assert image.mode == "L" and (np.asarray(image) == rasterise(polygons)).all()


def test_masks_of_others_are_left_as_they_are(tmp_path: Path) -> None:
    first, *_ = add_polygons(tmp_path)
    mask = first.with_name("0_gtFine_labelcsTrainIds.png")
    mask.write_bytes(b"made by the owners' script")
    run(tmp_path)
    assert mask.read_bytes() == b"made by the owners' script" and len(masks(tmp_path)) == 3


@pytest.mark.parametrize("form", FORMS)
def test_twice_does_nothing_and_originals_stay(form: str, root: Path, capsys: pytest.CaptureFixture) -> None:
    originals, command = contents(root), (root, "--packed", form, "--train_ids")
    run(*command)
    made = contents(root)
    assert originals.items() <= made.items() and len(made) > len(originals)
    capsys.readouterr()
    run(*command)
    assert contents(root) == made and capsys.readouterr().out.count("nothing to do") == 7
    for name in ("packed", "train_ids"):
        shutil.rmtree(root / name)
    run(*command)
    assert only_bytes(root) == {name: data for name, (data, _) in made.items()}


def test_processes_make_what_one_makes(root: Path, tmp_path: Path) -> None:
    add_polygons(root, 5)
    shutil.copytree(root, tmp_path / "other")
    run(root)
    assert prepare.main([str(tmp_path / "other"), "--workers", "2"]) == 0
    assert len(masks(root)) == 5 and only_bytes(root) == only_bytes(tmp_path / "other")


def test_interrupted_and_repeated_gives_the_same(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(root, tmp_path / "whole")
    run(tmp_path / "whole", "--packed", "raw")
    replace, calls = os.replace, []

    def interrupt(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == 3:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", interrupt)
    run(root, "--packed", "raw", code=130)
    monkeypatch.undo()
    assert len(list(root.rglob("*.tif"))) == 2 and not list(root.rglob("*.partial"))
    copy = next(root.rglob("*.tif"))
    copy.with_name(f"{copy.name}.partial").write_bytes(b"left by a process that was killed")
    copy.write_bytes(copy.read_bytes()[:40])  # by a machine that went down
    run(root, "--packed", "raw")
    assert only_bytes(root) == only_bytes(tmp_path / "whole")


def test_killed_and_repeated_gives_the_same(tmp_path: Path) -> None:
    for name in ("whole", "killed"):
        add_polygons(tmp_path / name, 300)
    command = [sys.executable, "-m", "datasets.prepare", tmp_path / "killed", "--workers", "1"]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not masks(tmp_path / "killed") and running.poll() is None:
            time.sleep(0.01)
    finally:
        running.kill()
        running.wait()
    for mask in masks(tmp_path / "killed"):
        assert (np.asarray(Image.open(mask)) == rasterise(next((tmp_path / "whole").rglob("*.json")))).all()
    run(tmp_path / "killed")
    run(tmp_path / "whole")
    assert only_bytes(tmp_path / "killed") == only_bytes(tmp_path / "whole")


def test_sigterm_ends_in_one_line(tmp_path: Path) -> None:
    add_polygons(tmp_path, 2000)
    command = [sys.executable, "-m", "datasets.prepare", tmp_path, "--workers", "1"]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not masks(tmp_path) and running.poll() is None:
        time.sleep(0.01)
    running.send_signal(signal.SIGTERM)
    told = running.communicate()[1]
    assert running.returncode == 130 and told.rstrip().endswith("repeat the command to go on")
    assert "Traceback" not in told and not list(tmp_path.rglob("*.partial"))


def test_too_little_space_is_told_before_anything_is_made(
    root: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(root)
    monkeypatch.setattr(making.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6 - 1000, 1000))
    run(root, "--packed", "raw", code=2)
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "free" in told and "--out" in told and contents(root) == before


def test_a_disk_that_fills_up_is_told(
    root: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    run(root, "--packed", "raw", code=2)
    told = capsys.readouterr().err
    assert "No space left" in told and "Traceback" not in told and not list(root.rglob("*.partial"))


def test_the_space_told_is_about_what_is_taken(root: Path) -> None:
    row = spec("gtav")
    products = [prepare.Copy(root, root, row, sample, "raw") for sample in row.pairs(root, "train")]
    needed = making.bytes_needed(products)
    making.make(products, workers=1, what="copies")
    assert needed / making.MARGIN == pytest.approx(sum(product.target.stat().st_size for product in products), rel=0.05)


def test_broken_originals_are_told_and_the_rest_is_made(root: Path, capsys: pytest.CaptureFixture) -> None:
    first, *_ = add_polygons(root)
    first.write_text("{")
    run(root, code=2)
    told = capsys.readouterr().err
    assert str(first) in told and "1 of 3" in told and len(masks(root)) == 2


@pytest.mark.parametrize("arguments", [["--datasets", "idd", "--packed", "raw"], ["--packed", "raw", "--splits", "x"]])
def test_what_is_not_there_is_told(arguments: list[str], root: Path, capsys: pytest.CaptureFixture) -> None:
    run(root, *arguments, code=2)
    assert capsys.readouterr().err.count("\n") == 1


def test_no_such_root(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run(tmp_path / "none", code=2)
    assert str(tmp_path / "none") in capsys.readouterr().err


def test_two_at_once_are_refused(root: Path, capsys: pytest.CaptureFixture) -> None:
    with making.alone(root):
        run(root, code=2)
    assert "another datasets.prepare" in capsys.readouterr().err


def test_train_ids_are_the_decoded_labels(root: Path) -> None:
    run(root, "--train_ids", "--gtav_labels", "colour", "--datasets", "gtav", "synthia")
    for name in ("gtav", "synthia"):
        row = spec(name, gtav_labels="colour")
        for sample in row.pairs(root, "val"):
            path = root / "train_ids" / sample.label.relative_to(root)
            assert (np.asarray(Image.open(path)) == row.decode(sample.label)).all()


def samples_of(root: Path, names: list[str], *, is_packed: bool) -> list[tuple[torch.Tensor, torch.Tensor]]:
    rows = [spec(name) for name in names]
    sources = [(row, row.pairs(root, "train")) for row in rows]
    copies = {image: copy for row, samples in sources for image, copy in packed.find(root, row, samples).items()}
    assert len(copies) == (sum(len(samples) for _, samples in sources) if is_packed else 0)
    augmentation = Augmentation(crop_size=48, rotate=5.0, color_aug=0.5, gblur=True)
    domains = Domains(sources, augmentation, seed=3, copies=copies)
    if is_packed:  # by what remains if the originals' pixels are gone
        for image in copies:
            image.unlink()
    return [domains[Request(n, n % len(rows), 0, hard=n % 3 == 0, meta_test=False)] for n in range(30)]


@pytest.mark.parametrize("form", FORMS)
def test_training_samples_are_the_same(form: str, root: Path) -> None:
    names = ["gtav", "synthia", "mapillary"]
    plain = samples_of(root, names, is_packed=False)
    run(root, "--packed", form)
    for expected, found in zip(plain, samples_of(root, names, is_packed=True), strict=True):
        assert all(torch.equal(*pair) for pair in zip(expected, found, strict=True))


@pytest.mark.parametrize("form", FORMS)
def test_evaluated_images_are_the_same(form: str, root: Path) -> None:
    def batches(name: str) -> list[tuple]:
        return list(eval_loader(LabelledImages(spec(name), root, "val"), eval_crop=48 if name == "mapillary" else 0))

    names = ["gtav", "synthia", "mapillary"]
    plain = [batches(name) for name in names]
    run(root, "--packed", form)
    for name, expected in zip(names, plain, strict=True):
        assert len(LabelledImages(spec(name), root, "val").copies) == 2
        for (image, label, stem), (image_, label_, stem_) in zip(expected, batches(name), strict=True):
            assert torch.equal(image, image_) and torch.equal(label, label_) and stem == stem_


def test_out_is_a_data_root_of_links_and_copies(root: Path, tmp_path: Path) -> None:
    before, home = contents(root), tmp_path / "fast"
    run(root, "--packed", "raw", "--out", home)
    run(root, "--packed", "raw", "--out", home)
    assert contents(root) == before and (home / "GTAV").is_symlink()
    assert len(LabelledImages(spec("gtav"), home, "train").copies) == 4


def change_image(root: Path) -> None:
    path = spec("gtav").pairs(root, "train")[1].image
    with Image.open(path) as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)


def change_label(root: Path) -> None:
    os.utime(spec("gtav").pairs(root, "train")[0].label)


def remove_copy(root: Path) -> None:
    next(packed.home(root, spec("gtav")).rglob("train/**/*.tif")).unlink()


def break_index(root: Path) -> None:
    (packed.home(root, spec("gtav")) / packed.INDEX).write_text("{")


def other_version(root: Path) -> None:
    path = packed.home(root, spec("gtav")) / packed.INDEX
    path.write_text(path.read_text().replace('"version": 1', '"version": 0'))


@pytest.mark.parametrize("fault", [change_image, change_label, remove_copy, break_index, other_version])
def test_stale_copies_are_refused_until_they_are_made_anew(fault, root: Path) -> None:
    run(root, "--packed", "raw")
    fault(root)
    with pytest.raises(UsageError) as caught:
        LabelledImages(spec("gtav"), root, "train")
    assert "pack" in str(caught.value) and "\n" not in str(caught.value)
    if fault in (break_index, other_version):
        return
    run(root, "--packed", "raw")
    images = LabelledImages(spec("gtav"), root, "train")
    for sample, (image, _, _) in zip(images.samples, images, strict=True):
        assert (np.asarray(image) == np.asarray(Image.open(sample.image))).all()


def test_copies_for_another_reading_of_labels_are_not_used(root: Path) -> None:
    run(root, "--packed", "raw", "--datasets", "gtav", "--gtav_labels", "colour")
    assert len(LabelledImages(spec("gtav", gtav_labels="colour"), root, "train").copies) == 4
    assert not LabelledImages(spec("gtav"), root, "train").copies


def test_a_broken_copy_is_told(root: Path) -> None:
    run(root, "--packed", "raw", "--datasets", "gtav")
    images = LabelledImages(spec("gtav"), root, "train")
    copy = images.copies[images.samples[0].image]
    copy.write_bytes(copy.read_bytes()[:-50])
    with pytest.raises(UsageError, match="unreadable copy"):
        images[0]


def test_an_odd_image_is_packed_as_it_is_read(tmp_path: Path) -> None:
    """Grey, and upside down by its camera."""
    write_demo(tmp_path, domains=["bdd100k"], train=1, val=1, size=(64, 96), workers=1)
    (sample,) = spec("bdd100k").pairs(tmp_path, "train")
    with Image.open(sample.image) as image:
        exif = image.getexif()
        exif[0x0112] = 3
        image.convert("L").save(sample.image, exif=exif)
    plain = np.asarray(LabelledImages(spec("bdd100k"), tmp_path, "train")[0][0])
    run(tmp_path, "--packed", "raw")
    assert (np.asarray(LabelledImages(spec("bdd100k"), tmp_path, "train")[0][0]) == plain).all()
