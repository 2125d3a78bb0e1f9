"""What ``datasets.prepare`` makes: the right bytes, once, whole or not at all."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets import packed
from datasets.disk.polygons import rasterise
from datasets.prepare import __main__ as prepare
from datasets.prepare import making
from datasets.registry import spec
from support.prepared_data import FORMS, contents, only_bytes, run
from utils.errors import UsageError

ROOT = Path(__file__).parent.parent
SHAPE = {"imgWidth": 40, "imgHeight": 24, "objects": [{"label": "car", "polygon": [[3, 2], [30, 4], [20, 20]]}]}


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
    polygons = [path for folder in ("idd", "IDD_Segmentation") for path in add_polygons(tmp_path, folder=folder)]
    others = add_polygons(tmp_path, folder="cityscapes")
    owners = polygons.pop(0).with_name("0_gtFine_labelcsTrainIds.png")
    owners.write_bytes(b"made by the owners' script")
    run(tmp_path)
    assert owners.read_bytes() == b"made by the owners' script"
    assert len(masks(tmp_path)) == 6 and not masks(others[0].parent)
    for path in polygons:
        with Image.open(path.with_name(path.name.replace("polygons.json", "labelcsTrainIds.png"))) as mask:
            assert mask.mode == "L" and (np.asarray(mask) == rasterise(path)).all()


@pytest.mark.parametrize("form", FORMS)
def test_twice_does_nothing_and_originals_stay(form: str, root: Path, capsys: pytest.CaptureFixture) -> None:
    originals, command = contents(root), (root, "--packed", form)
    run(*command)
    made, bytes_made = contents(root), only_bytes(root)
    assert originals.items() <= made.items() and len(made) > len(originals)
    capsys.readouterr()
    run(*command)
    assert capsys.readouterr().out.count("nothing to do") == 4 and only_bytes(root) == bytes_made
    assert all(file == made[name] or name.endswith(packed.INDEX) for name, file in contents(root).items())
    shutil.rmtree(root / "packed")
    prepare.main([*map(str, command), "--workers", "2"])
    assert only_bytes(root) == bytes_made


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
    copy.write_bytes(copy.read_bytes()[:40])  # by a machine that went down
    run(root, "--packed", "raw")
    assert only_bytes(root) == only_bytes(tmp_path / "whole")


def test_killed_and_repeated_gives_the_same(tmp_path: Path) -> None:
    for name in ("whole", "killed"):
        add_polygons(tmp_path / name, 1000)
    command = [sys.executable, "-m", "datasets.prepare", tmp_path / "killed", "--workers", "1"]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not masks(tmp_path / "killed") and running.poll() is None:
        time.sleep(0.01)
    running.kill()
    running.wait()
    assert 0 < len(masks(tmp_path / "killed")) < 1000
    for name in ("whole", "killed"):
        run(tmp_path / name)
    assert only_bytes(tmp_path / "killed") == only_bytes(tmp_path / "whole")


def test_too_little_space_is_an_error(
    root: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = contents(root)
    monkeypatch.setattr(making.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6 - 1000, 1000))
    run(root, "--packed", "raw", code=2)
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "free: make room" in error and contents(root) == before
    monkeypatch.undo()
    monkeypatch.setattr(os, "replace", full)  # the disk fills up meanwhile
    run(root, "--packed", "raw", code=2)
    error = capsys.readouterr().err
    assert "No space left" in error and "Traceback" not in error and not list(root.rglob("*.partial"))


def test_broken_originals_are_named_and_the_rest_is_made(root: Path, capsys: pytest.CaptureFixture) -> None:
    polygons, *_ = add_polygons(root)
    polygons.write_text("{")
    first, *others = spec("gtav").pairs(root, "train")
    first.label.unlink()
    first.label.symlink_to("nowhere.png")
    run(root, "--packed", "raw", code=2)
    errors = capsys.readouterr().err
    assert str(polygons) in errors and "masks of idd: 1 of 3" in errors and len(masks(root)) == 2
    assert str(first.label) in errors and "copies of gtav: 1 of" in errors
    copies = packed.find(root, spec("gtav"), others)
    assert len(copies) == len(others) and packed.find(root, spec("synthia"), spec("synthia").pairs(root, "val"))
    others[0].label.unlink()
    others[0].label.symlink_to("nowhere.png")
    with pytest.raises(UsageError, match=rf"{others[0].label}: cannot be reached .*: mend the link"):
        packed.find(root, spec("gtav"), others)


def test_mistakes_are_one_line(root: Path, capsys: pytest.CaptureFixture) -> None:
    for arguments, message in (
        ([root, "--datasets", "idd", "--packed", "raw"], "no folder idd"),
        ([root, "--datasets", "gta"], "no data set is called gta"),
        ([root / "none"], f"{root / 'none'}: no such folder"),
    ):
        run(*arguments, code=2)
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
