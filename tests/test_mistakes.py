"""Bad input: one line that names the file or flag and the remedy, exit code 2, no traceback, nothing half-written."""

import json
import os
import pickle
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

import eval as evaluation
import train as training
from datasets.demo import write_demo
from engine.program import run_program
from support.disks import largest_file

pytestmark = pytest.mark.usefixtures("thin_resnet")

ROOT = Path(__file__).parent.parent
PROGRAMS = {"train.py": training.main, "eval.py": evaluation.main}


class Place(NamedTuple):
    """What a case may spoil."""

    data: Path
    out: Path  # does not exist yet
    snapshot: Path  # a good checkpoint, to be replaced
    pictures: Path  # a folder of images
    marker: Path  # what a malicious file would leave


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Demo data, a run of one iteration, and pictures, all of which are as they should be."""
    home = tmp_path_factory.mktemp("good")
    domains = ["gtav", "synthia", "bdd100k", "mapillary"]
    write_demo(home / "data", domains=domains, train=2, val=1, size=(64, 128), seed=1, workers=1)
    place = Place(home / "data", home / "runs", home, home, home)
    training.main(training_flags(place))
    shutil.copy(next(home.glob("runs/run/*/last.pth")), home / "last.pth")
    (home / "pictures").mkdir()
    Image.new("RGB", (40, 30), (90, 90, 90)).save(home / "pictures" / "a.png")
    return home


@pytest.fixture
def place(good: Path, tmp_path: Path) -> Place:
    for name in ("data", "pictures"):
        shutil.copytree(good / name, tmp_path / name)
    os.link(good / "last.pth", tmp_path / "last.pth")
    return Place(tmp_path / "data", tmp_path / "out", tmp_path / "last.pth", tmp_path / "pictures", tmp_path / "marker")


def training_flags(place: Place) -> list[str]:
    line = (
        "--exp run --val_dataset mapillary --mapillary_crop 0 --arch DeepR18V3PlusD --pretrained_backbone none "
        "--crop_size 32 --bs_mult 2 --max_iter 1 --num_workers 0 --mem_init_batches 1 --device cpu"
    )
    return [*line.split(), "--data_root", str(place.data), "--exp_root", str(place.out)]


def evaluation_flags(place: Place) -> list[str]:
    line = "--dataset gtav --num_workers 0 --device cpu --mapillary_crop 0"
    return [*line.split(), "--snapshot", str(place.snapshot), "--data_root", str(place.data), "--out", str(place.out)]


def image(domain: str) -> Callable[[Place], Path]:
    globs = {"gtav": "GTAV/images/train/**/*.png", "bdd100k": "bdd-100k/images/train/*.jpg"}
    return lambda place: sorted(place.data.glob(globs[domain]))[0]


def label(domain: str) -> Callable[[Place], Path]:
    globs = {
        "gtav": "GTAV/labels/train/**/*.png",
        "bdd100k": "bdd-100k/labels/train/*.png",
        "synthia": "synthia/GT/LABELS/train/*.png",
        "mapillary": "mapillary/training/labels/*.png",
    }
    return lambda place: sorted(place.data.glob(globs[domain]))[0]


def spoil(find: Callable[[Place], Path], change: Callable[[Path], object]) -> Callable[[Place], None]:
    """Change every file in the folder of the one that is found: which of them is read first is a matter of chance."""

    def apply(place: Place) -> None:
        for path in find(place).parent.iterdir():
            change(path)

    return apply


def write_text(path: Path) -> None:
    path.write_text("this is no picture\n")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def picture(mode: str, size: tuple[int, int], colour: int | tuple[int, ...]) -> Callable[[Path], None]:
    return lambda path: Image.new(mode, size, colour).save(path)


def sixteen_bit_grey(path: Path) -> None:
    Image.fromarray(np.full((64, 128), 3000, dtype=np.uint16)).save(path)


def at_snapshot(change: Callable[[Path], object]) -> Callable[[Place], None]:
    def apply(place: Place) -> None:
        content = place.snapshot.read_bytes()
        place.snapshot.unlink()  # it is a link to the good one
        place.snapshot.write_bytes(content)
        change(place.snapshot)

    return apply


def altered(**entries: object) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        torch.save(torch.load(path, weights_only=True) | entries, path)

    return change


class Malicious:
    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.marker}",)


def malicious(
    save: Callable[[object, Path], object], content: Callable[[object], object] = lambda held: {"weights": held}
) -> Callable[[Place], None]:
    def apply(place: Place) -> None:
        place.snapshot.unlink()
        save(content(Malicious(str(place.marker))), place.snapshot)

    return apply


def as_released(held: object) -> dict[str, object]:
    """In the place of the NumPy number that the authors' files have."""
    return {"state_dict": {"module.x": torch.zeros(1)}, "epoch": 1, "mean_iu": held}


def raw_pickle(content: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


def a_file_where_results_go(place: Place) -> None:
    place.out.write_text("here already")


def nothing(place: Place) -> None:
    """The flags alone are the mistake."""


def remove(pattern: str) -> Callable[[Place], None]:
    return lambda place: [shutil.rmtree(path) for path in place.data.glob(pattern)]


def vanish(place: Place) -> None:
    shutil.rmtree(place.data)


def rename_picture(place: Place) -> None:
    (place.pictures / "a.png").rename(place.pictures / "a.txt")


Case = tuple[Callable[[Place], object], str, str]  # what is spoiled, further flags, what is told
TRAIN: dict[str, Case] = {
    "missing data root": (vanish, "", r"data: no folder GTAV or gta5 or gta; .*--data_root"),
    "empty data root": (remove("*"), "", r"data: no folder GTAV .*put the data there"),
    "missing split": (remove("GTAV/images/train"), "", r"GTAV: no image found.*expected there"),
    "missing validation split": (remove("GTAV/images/valid"), "", r"GTAV: no image found"),
    "image without label": (remove("GTAV/labels/train"), "", r"has no label .*complete the labels"),
    "label of another size": (
        spoil(label("bdd100k"), picture("L", (30, 20), 7)), "--dataset bdd100k",
        r"is 128x64 but its label .* is 30x20: take this pair away",
    ),
    "GTAV of two sizes": (
        spoil(label("gtav"), picture("L", (30, 20), 7)), "", r"differs in size from its label .*fetch images and labels"
    ),
    "unknown ids": (spoil(label("gtav"), picture("L", (128, 64), 77)), "", r"holds the ids 77, but gtav has 0 to 34"),
    "label of another version": (
        spoil(label("mapillary"), picture("L", (128, 64), 100)), "--dataset mapillary", r"ids 100, but mapillary"
    ),
    "labels of zeros": (
        spoil(label("bdd100k"), picture("L", (128, 64), 0)), "--dataset bdd100k",
        r"is road everywhere.*datasets\.check .*--dataset bdd100k.*--no_check"
    ),
    "label in colours": (
        spoil(label("bdd100k"), picture("RGB", (128, 64), (128, 64, 128))), "--dataset bdd100k", r"is a colour image"
    ),
    "8-bit SYNTHIA": (
        spoil(label("synthia"), picture("RGB", (128, 64), (3, 0, 0))), "--dataset synthia", r"unreadable label.*16-bit"
    ),
    "16-bit label": (spoil(label("gtav"), sixteen_bit_grey), "", r"unreadable label .*8-bit"),
    "text named .png": (spoil(image("gtav"), write_text), "", r"unreadable image .*fetch the file again"),
    "truncated PNG": (spoil(image("gtav"), truncate), "", r"unreadable image"),
    "truncated JPEG": (spoil(image("bdd100k"), truncate), "--dataset bdd100k", r"unreadable image"),
    "zero-byte image": (spoil(image("gtav"), empty), "", r"00001.png: is empty: fetch the file again"),
    "zero-byte label": (spoil(label("gtav"), empty), "", r"00001.png: is empty: fetch the file again"),
    "the same in a worker": (spoil(image("gtav"), truncate), "--num_workers 1 --no_check", r"unreadable image"),
    "unknown flag": (nothing, "--no_such_flag", r"--no_such_flag: no such flag"),
    "misspelt flag": (nothing, "--max_iters 3", r"--max_iters: no such flag; did you mean --max_iter\?"),
    "flag without its value": (nothing, "--lr", r"--lr: expected one argument"),
    "no number": (nothing, "--crop_size big", r"--crop_size: big: give a whole number of 1 or more"),
    "not a number": (nothing, "--lr nan", r"--lr: nan: give a number"),
    "out of range": (nothing, "--mem_momentum 2", r"--mem_momentum: 2: give a number from 0 to 1"),
    "too many items": (nothing, "--memory --mem_slot 256", r"--mem_slot: 256: give a whole number from 1 to 255"),
    "zero": (nothing, "--max_iter 0", r"--max_iter: 0: give"),
    "negative": (nothing, "--seed -1", r"--seed: -1: give"),
    "no choice": (nothing, "--recipe new", r"--recipe: invalid choice: 'new'"),
    "unknown data set": (nothing, "--dataset gta5", r"no data set is called gta5: choose from cityscapes, gtav"),
    "unknown network": (nothing, "--arch network.deepv3plus.DeepWV3Plus", r"--arch .*no such network; known are"),
    "contradicting scales": (nothing, "--scale_min 3", r"--scale_min 3.0 is above --scale_max 2.0: exchange them"),
    "one domain to split": (nothing, "--dataset gtav --mldg", r"--mldg needs two domains: .*gtav gtav"),
    "too few slots": (nothing, "--memory --mem_slot 3", r"--mem_slot 3: every one of the 19 classes"),
    "a batch of one": (nothing, "--mldg --bs_mult 1", r"--bs_mult 1: batch norm needs two images"),
    "a plan for a batch of one": (nothing, "--plan --mldg --bs_mult 1", r"--bs_mult 1: batch norm needs two images"),
    "no such device": (nothing, "--device cuda:99", r"--device cuda:99: not usable here .*try --device cpu"),
    "no device at all": (nothing, "--device gpu", r"--device gpu: not usable here"),
    "missing backbone": (nothing, "--pretrained_backbone absent.pth", r"--pretrained_backbone absent.pth"),
    "backbone of something else": (nothing, f"--pretrained_backbone {__file__}", r"not a readable file of weights"),
    "no published length": (nothing, "--dataset gtav --recipe published --max_iter 0", r"--max_iter: 0"),
    "folder that is a file": (a_file_where_results_go, "", r"--exp_root .*cannot write there"),
    "no write permission": (nothing, "--exp_root /proc/runs", r"--exp_root /proc/runs: cannot write there"),
    "nothing to resume": (nothing, "--resume absent", r"--resume absent: no checkpoint there"),
    "a loss that explodes": (nothing, "--max_iter 4 --val_interval 4 --lr 1e30", r"loss is not finite .*smaller --lr"),
}  # fmt: skip
EVALUATE: dict[str, Case] = {
    "missing snapshot": (lambda place: place.snapshot.unlink(), "", r"--snapshot .*no such file"),
    "folder as snapshot": (nothing, f"--snapshot {ROOT}", r"--snapshot .*no such file"),
    "truncated checkpoint": (at_snapshot(truncate), "", r"--snapshot .*not a readable checkpoint"),
    "half a checkpoint": (
        at_snapshot(lambda path: os.truncate(path, path.stat().st_size // 2)), "", r"not a readable checkpoint"
    ),
    "empty checkpoint": (at_snapshot(empty), "", r"not a readable checkpoint"),
    "text as checkpoint": (at_snapshot(write_text), "", r"not a readable checkpoint"),
    "malicious checkpoint": (malicious(torch.save), "", r"not a readable checkpoint"),
    "malicious pickle": (malicious(raw_pickle), "", r"not a readable checkpoint"),
    "malicious release": (malicious(torch.save, as_released), "", r"it holds posix.system, which is more than data"),
    "malicious old release": (
        malicious(partial(torch.save, _use_new_zipfile_serialization=False), as_released), "", r"it holds posix.system"
    ),
    "malicious memory": (
        malicious(torch.save, lambda held: as_released(0) | {"memory": held}), "", r"not a readable checkpoint"
    ),
    "release of something else": (
        at_snapshot(lambda path: torch.save(as_released(np.float64(0.1)), path)), "", r"fits no network .*1 unexpected"
    ),
    "tensor as checkpoint": (at_snapshot(lambda path: torch.save(torch.zeros(3), path)), "", r"not a checkpoint of"),
    "foreign checkpoint": (at_snapshot(lambda path: torch.save({"model": {}}, path)), "", r"not a checkpoint of train"),
    "weights that are no numbers": (
        at_snapshot(altered(weights={"classifier.bias": torch.full((19,), torch.nan)})), "",
        r"last.pth: classifier.bias holds NaN or infinite"
    ),
    "missing weights": (at_snapshot(altered(weights={})), "", r"does not fit the network: .*Missing key"),
    "another network asked for": (nothing, "--arch network.deepv3plus.DeepR50V3PlusD", r"--arch .*DeepR18V3PlusD"),
    "no memory in it": (nothing, "--memory", r"--memory"),
    "no scale": (nothing, "--inference_mode pooling --scales big", r"--scales: big: give"),
    "scales of a whole image": (nothing, "--scales 0.5,1.0", r"--scales 0.5,1.0: a whole image is seen at 1.0; add"),
    "windows that never end": (nothing, "--sliding_overlap 1", r"--sliding_overlap 1: .*give a share below 1"),
    "noise on and off": (nothing, "--gumbel_off --gumbel_eval 3", r"--gumbel_off contradicts --gumbel_eval 3"),
    "split without labels": (nothing, "--dataset bdd100k --split test", r"bdd100k has no labelled split 'test'"),
    "nothing labelled": (
        spoil(lambda place: next(place.data.glob("GTAV/labels/valid/**/*.png")), picture("L", (128, 64), 0)), "",
        r"gtav val: not one pixel is labelled",
    ),
    "results in a file": (a_file_where_results_go, "", r"--out .*name another"),
    "no write permission": (nothing, "--out /proc/results", r"--out /proc/results: cannot be made"),
    "folder without its name": (nothing, "--dataset video_folder", r"video_folder: name the images by --videopath"),
    "images and domains": (nothing, "--images pictures", r"give one of them at a time"),
}  # fmt: skip
IMAGES: dict[str, Case] = {
    "missing folder": (lambda place: shutil.rmtree(place.pictures), "", r"pictures: no image here|pictures: no such"),
    "folder without images": (rename_picture, "", r"no image here"),
    "repeats without scores": (nothing, "--gumbel_eval 3", r"--gumbel_eval 3: repeats are for scores"),
}
CASES = {
    **{f"train: {name}": ("train.py", case) for name, case in TRAIN.items()},
    **{f"eval: {name}": ("eval.py", case) for name, case in EVALUATE.items()},
    **{f"images: {name}": ("images", case) for name, case in IMAGES.items()},
}


def flags_of(program: str, place: Place) -> list[str]:
    if program == "train.py":
        return training_flags(place)
    flags = evaluation_flags(place)
    return flags if program == "eval.py" else [*flags[2:], "--images", str(place.pictures)]


@pytest.mark.parametrize("name", CASES)
def test_mistakes(name: str, place: Place, capfd: pytest.CaptureFixture) -> None:
    program, (change, extra, told) = CASES[name]
    argv = [*flags_of(program, place), *extra.split()]
    change(place)
    program = program if program in PROGRAMS else "eval.py"
    with pytest.raises(SystemExit) as end:
        run_program(program, lambda: PROGRAMS[program](argv))
    assert end.value.code == 2
    check_told(capfd.readouterr(), program, told)
    check_whole(place)


def check_told(captured: tuple[str, str], program: str, told: str) -> None:
    """One line, and no other that speaks of an error."""
    text = "".join(captured)
    assert "Traceback" not in text
    (line,) = [line for line in text.splitlines() if "error" in line.lower()]
    assert line.rpartition("\r")[2].startswith(f"{program}: error: ") and re.search(told, line), line


def check_whole(place: Place) -> None:
    """What lies in the output folder, if anything, is complete; nothing was executed."""
    assert not place.marker.exists()
    for path in place.out.rglob("*") if place.out.is_dir() else ():
        assert path.suffix not in (".partial", ".pth"), path
        if path.suffix == ".json":
            json.loads(path.read_text())


@pytest.mark.parametrize("largest", [100, 1500])
def test_a_full_disk_is_told_by_the_evaluation(largest: int, place: Place, capsys: pytest.CaptureFixture) -> None:
    """Neither the pictures nor the table of results fit."""
    argv = [*evaluation_flags(place), "--dump_images"]
    with largest_file(largest), pytest.raises(SystemExit) as end:
        run_program("eval.py", lambda: evaluation.main(argv))
    assert end.value.code == 2
    check_told(capsys.readouterr(), "eval.py", r"File too large.*(mend|make room)")
    check_whole(place)


def test_enough_kinds() -> None:
    assert len(CASES) >= 40
