"""Each mistake of a user: one line that names the flag or file and the remedy, exit code 2, nothing half-written."""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

import ablation
import eval as evaluation
import train as training
from datasets.demo import write_demo
from engine.program import run_program
from support.disks import largest_file

pytestmark = pytest.mark.usefixtures("thin_resnet")

ROOT = Path(__file__).parent.parent
PROGRAMS = {"train.py": training.main, "eval.py": evaluation.main, "ablation.py": ablation.main}


class Place(NamedTuple):
    """What the programs of a case read and write."""

    data: Path
    snapshot: Path
    pictures: Path  # a folder of images
    out: Path  # the folder of results; it does not exist yet
    marker: Path  # the file that code in a malicious checkpoint would write

    def flags(self, program: str) -> list[str]:
        """Flags of a command line without mistakes."""
        common = f"--data_root {self.data} --device cpu --num_workers 0 --mapillary_crop 0"
        if program == "train.py":
            common += f" --exp_root {self.out} --val_dataset mapillary --arch DeepR18V3PlusD --max_iter 1"
            common += " --pretrained_backbone none --crop_size 32 --bs_mult 2 --mem_init_batches 1"
        else:
            common += f" --snapshot {self.snapshot} --out {self.out}"
        return common.split()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Demo data, a checkpoint of a run of one iteration, and a picture, all without faults."""
    home = tmp_path_factory.mktemp("good")
    domains = ["gtav", "synthia", "bdd100k", "mapillary"]
    write_demo(home / "data", domains=domains, train=2, val=1, size=(64, 128), seed=1, workers=1)
    training.main(Place(home / "data", home, home, home / "runs", home).flags("train.py"))
    shutil.copy(next(home.glob("runs/default/*/last.pth")), home / "last.pth")
    (home / "pictures").mkdir()
    Image.new("RGB", (40, 30), (90, 90, 90)).save(home / "pictures" / "a.png")
    return home


@pytest.fixture
def place(good: Path, tmp_path: Path) -> Place:
    """A copy that a case may spoil."""
    for name in ("data", "pictures"):
        shutil.copytree(good / name, tmp_path / name)
    shutil.copy(good / "last.pth", tmp_path)
    return Place(tmp_path / "data", tmp_path / "last.pth", tmp_path / "pictures", tmp_path / "out", tmp_path / "marker")


def check_mistake(line: str, message: str, place: Place, capfd: pytest.CaptureFixture) -> None:
    """Run a command line; ' ... ' in ``message`` stands for any text."""
    program, *flags = line.format(**place._asdict(), this=__file__).split()
    with pytest.raises(SystemExit) as end:
        run_program(program, lambda: PROGRAMS[program]([*place.flags(program), *flags]))
    assert end.value.code == 2
    check_output("".join(capfd.readouterr()), program, message)
    check_files(place)


def check_output(text: str, program: str, message: str) -> None:
    """One line speaks of an error."""
    assert "Traceback" not in text
    (line,) = [line[line.find(program) :] for line in text.splitlines() if "error" in line.lower()]  # behind a bar
    parts = [f"{program}: error: ", *message.split(" ... ")]
    assert re.match(".*".join(map(re.escape, parts)), line), line


def check_files(place: Place) -> None:
    """All written files are whole; no code in a checkpoint was run."""
    assert not place.marker.exists()
    for path in place.out.rglob("*") if place.out.is_dir() else ():
        assert path.suffix not in (".partial", ".pth"), path
        if path.suffix == ".json":
            json.loads(path.read_text())


COMMAND_LINES = {
    # Any flag
    "train.py --no_such_flag": "--no_such_flag: no such flag",
    "train.py --max_iters 3": "--max_iters: no such flag; did you mean --max_iter?",
    "train.py --lr": "argument --lr: expected one argument",
    "train.py --crop_size big": "argument --crop_size: big: give a whole number of 1 or more",
    "train.py --lr nan": "argument --lr: nan: give a number",
    "train.py --max_iter 0": "argument --max_iter: 0: give a whole number of 1 or more",
    "train.py --seed -1": "argument --seed: -1: give a whole number from 0",
    "train.py --num_workers -1": "argument --num_workers: -1: give a whole number of 0 or more",
    "train.py --mem_init_batches 0": "argument --mem_init_batches: 0: give a whole number of 1 or more",
    "train.py --recipe new": "argument --recipe: invalid choice: 'new'",
    # Training
    "train.py --dataset gta5": "no data set is called gta5: choose from cityscapes, gtav",
    "train.py --arch network.deepv3plus.DeepWV3Plus": "--arch  ... no such network; known are",
    "train.py --wt_layer 0 0 4": "argument --wt_layer: expected 7 arguments",
    "train.py --wt_layer 0 0 6 0 0 0 0": "argument --wt_layer: 6: give a whole number from 0 to 5",
    "train.py --scale_min 3": "--scale_min 3.0 is above --scale_max 2.0: exchange them",
    "train.py --bs_mult 1 --mldg --plan": "--bs_mult 1: batch norm needs two images",
    "train.py --cv 1": "--cv 1: only the standard split of Cityscapes is known; give 0",
    "train.py --city_mode trainval": "--city_mode trainval: only the training images of Cityscapes are trained on",
    "train.py --ckpt {data}": "--exp_root {out} and --ckpt {data}: names of one folder; give one of them",
    "train.py --device cuda:99": "--device cuda:99: not usable here ... try --device cpu",
    "train.py --device gpu": "--device gpu: not usable here",
    "train.py --pretrained_backbone absent.pth": "--pretrained_backbone absent.pth: no such file",
    "train.py --pretrained_backbone {this}": "not a readable file of weights",
    "train.py --exp_root /proc/runs": "/proc/runs: No such file or directory; mend that",
    "train.py --resume absent": "--resume absent: no checkpoint there",
    "train.py --lr 1e30 --max_iter 4 --val_interval 4": "a loss is not finite (seg  ... aux  ... try a smaller --lr",
    # The method
    "train.py --method dropout": "argument --method: invalid choice: 'dropout'",
    "train.py --method mldg --memory": "--method mldg contradicts --memory: drop one of them",
    "train.py --method baseline --mldg": "--method baseline contradicts --mldg: drop one of them",
    "train.py --dataset gtav --mldg": "--mldg needs two domains: name two, e.g. --dataset gtav gtav",
    "train.py --mem_momentum 2": "argument --mem_momentum: 2: give a number from 0 to 1",
    "train.py --memory --mem_slot 256": "argument --mem_slot: 256: give a whole number from 1 to 255",
    "train.py --memory --mem_slot 3": "--mem_slot 3: every one of the 19 classes needs a slot",
    # Class-uniform sampling
    "train.py --class_uniform_pct 1.5": "argument --class_uniform_pct: 1.5: give a number from 0 to 1",
    "train.py --class_uniform_tile 0": "argument --class_uniform_tile: 0: give a whole number of 1 or more",
    "train.py --max_cu_epoch -1": "argument --max_cu_epoch: -1: give a whole number of 0 or more",
    "train.py --epoch_size 0": "argument --epoch_size: 0: give a whole number of 1 or more",
    "train.py --coarse_boost_classes 14 --dataset cityscapes": "changes nothing without --class_uniform_pct",
    "train.py --coarse_boost_classes 14 --class_uniform_pct 0.5": "changes nothing without  ... and cityscapes",
    "train.py --coarse_boost_classes 19 --class_uniform_pct 1 --dataset cityscapes": "19: give classes from 0 to 18",
    # Evaluation
    "eval.py --snapshot {data}": "--snapshot {data}: no such file",
    "eval.py --arch network.deepv3plus.DeepR50V3PlusD": "--arch  ... DeepR18V3PlusD",
    "eval.py --wt_layer 0 0 4 4 4 0 0": "other norms; give e.g. --wt_layer 0 0 0 0 0 0 0",
    "eval.py --memory": "--memory: ... holds none; drop --memory",
    "eval.py --dataset gta": "no data set is called gta",
    "eval.py --dataset bdd100k --split test": "bdd100k has no labelled split 'test'",
    "eval.py --dataset gtav --out /proc/results": "/proc/results: No such file or directory; mend that",
    "eval.py --dataset gtav --out {snapshot}/x": "{snapshot}/x: Not a directory; mend that",
    "eval.py --dataset video_folder": "--dataset video_folder: name the images by --videopath DIR",
    "eval.py --dataset video_folder gtav": "no data set is called video_folder",
    "eval.py --images x --dataset gtav": "--images x and --dataset gtav: give one of them at a time",
    "eval.py --images x --gumbel_eval 3": "--gumbel_eval 3: repeats are for scores, images have none; give 0 or 1",
    "eval.py --images absent": "no image here",
    "eval.py --gumbel_eval -1": "argument --gumbel_eval: -1: give a whole number of 0 or more",
    "eval.py --gumbel_off --gumbel_eval 2": "--gumbel_off contradicts --gumbel_eval 2: drop one of them",
    "eval.py --inference_mode slide": "argument --inference_mode: invalid choice: 'slide'",
    "eval.py --scales 0.5,1.0": "--scales 0.5,1.0: a whole image is seen at 1.0; add --inference_mode pooling",
    "eval.py --scales 1.0,x --inference_mode pooling": "argument --scales: 1.0,x: give different numbers above 0",
    "eval.py --scales 1.0,1 --inference_mode pooling": "argument --scales: 1.0,1: give different numbers",
    "eval.py --scales 0 --inference_mode pooling": "argument --scales: 0: give different numbers",
    "eval.py --scales 1e9 --inference_mode pooling": "argument --scales: 1e9: give  ... at most 8",
    "eval.py --sliding_overlap 1": "--sliding_overlap 1: such windows never reach the end of an image; give a share",
    "eval.py --sliding_overlap -0.1": "argument --sliding_overlap: -0.1: give a number from 0 to 1",
    "eval.py --crop_size 0": "argument --crop_size: 0: give a whole number of 1 or more",
    # Target-specific normalisation
    "eval.py --target_norm 0": "argument --target_norm: 0: give a whole number of 1 or more",
    "eval.py --target_norm_seeds 3": "--target_norm_seeds changes nothing without --target_norm",
    "eval.py --target_norm 8 --inference_mode sliding": "--target_norm ... drop --inference_mode sliding",
    "eval.py --target_norm 8 --dump_images": "--target_norm ... drop it, or --dump_images",
    "eval.py --target_norm 8 --tsne": "--target_norm ... drop it, or --tsne",
    "eval.py --target_norm 8 --images x": "--target_norm ... drop it, or --images",
    "eval.py --target_norm 8 --gumbel_eval 3": "--target_norm ... give --gumbel_eval 0 or 1, not 3",
    # Figures
    "ablation.py": "nothing to draw: add --tsne or --mem_actmap",
    "eval.py --pca": "--pca changes nothing without --tsne",
    "eval.py --all_class": "--all_class changes nothing without --tsne or --mem_actmap",
    "eval.py --tsne --pca --duplication 2": "--duplication 2: principal components are always the same",
    "eval.py --tsne --images x": "--tsne: points need labels",
    "eval.py --tsne --source_domain gta": "no data set is called gta",
    "eval.py --mem_actmap --inference_mode sliding": "--mem_actmap ... drop --inference_mode sliding",
    "eval.py --mem_actmap --dump_images": "--mem_actmap ... drop --dump_images",
    "eval.py --mem_actmap --gumbel_eval 2": "--mem_actmap ... give --gumbel_eval 0 or 1",
    "eval.py --mem_actmap --dataset gtav": "--mem_actmap: {snapshot} holds no memory",
}


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_command_line(line: str, good: Path, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    place = Place(good / "data", good / "last.pth", good / "pictures", tmp_path / "out", tmp_path / "marker")
    check_mistake(line, COMMAND_LINES[line].format(**place._asdict()), place, capfd)


# Files: what spoils them

Change = Callable[[Path], object]
Spoil = Callable[[Place], object]


def every(pattern: str, change: Change) -> Spoil:
    """Change all files that match: chance decides which of them is read first."""

    def apply(place: Place) -> None:
        for path in place.data.glob(pattern):
            change(path)

    return apply


GTAV_IMAGES, GTAV_LABELS = "GTAV/images/train/**/*.png", "GTAV/labels/train/**/*.png"
BDD_IMAGES, BDD_LABELS = "bdd-100k/images/train/*.jpg", "bdd-100k/labels/train/*.png"
MAPILLARY_LABELS, SYNTHIA_LABELS = "mapillary/training/labels/*.png", "synthia/GT/LABELS/train/*.png"
NOT_NUMBERS = {"classifier.bias": torch.full((19,), torch.nan)}


def snapshot(change: Change) -> Spoil:
    return lambda place: change(place.snapshot)


def saved(content: Any) -> Spoil:
    return lambda place: torch.save(content, place.snapshot)


def text(path: Path) -> None:
    path.write_text("no picture\n")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def label_of(train_id: int, size: tuple[int, int] = (128, 64)) -> Change:
    return lambda path: Image.new("L", size, train_id).save(path)


SMALL = label_of(7, (30, 20))


def colours(path: Path) -> None:
    Image.new("RGB", (128, 64), (3, 0, 0)).save(path)


def sixteen_bits(path: Path) -> None:
    Image.fromarray(np.full((64, 128), 3000, dtype=np.uint16)).save(path)


def with_weights(weights: dict[str, torch.Tensor]) -> Change:
    return lambda path: torch.save(torch.load(path, weights_only=True) | {"weights": weights}, path)


class Malicious:
    """Writes a file when a pickle with it is loaded without care."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.marker}",)


def as_released(mean_iu: Any) -> dict[str, Any]:
    return {"state_dict": {"module.x": torch.zeros(1)}, "epoch": 1, "mean_iu": mean_iu}


def malicious(content: Callable[[Malicious], Any], save: Callable[[Any, Path], object] = torch.save) -> Spoil:
    return lambda place: save(content(Malicious(place.marker)), place.snapshot)


def pickled(content: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


save_in_old_format = partial(torch.save, _use_new_zipfile_serialization=False)


def without(pattern: str) -> Spoil:
    return lambda place: [shutil.rmtree(path) for path in place.data.glob(pattern)]


def rename_picture(place: Place) -> None:
    (place.pictures / "a.png").rename(place.pictures / "a.txt")


TRAIN, GTAV, FOLDER = "train.py", "eval.py --dataset gtav", "eval.py --images {pictures}"
ON_BDD, ON_MAPILLARY, ON_SYNTHIA = (f"train.py --dataset {name}" for name in ("bdd100k", "mapillary", "synthia"))
NOT_READABLE = "--snapshot {snapshot}: not a readable checkpoint"
FILES: dict[str, tuple[str, Spoil, str]] = {
    # Data
    "no data root": (TRAIN, lambda place: shutil.rmtree(place.data), "data: no folder GTAV ... --data_root"),
    "an empty data root": (TRAIN, without("*"), "data: no folder GTAV ... put the data there"),
    "no training images": (TRAIN, without("GTAV/images/train"), "GTAV: no image found ... expected there"),
    "no validation images": (TRAIN, without("GTAV/images/valid"), "GTAV: no image found"),
    "no labels": (TRAIN, without("GTAV/labels/train"), "has no label ... complete the labels"),
    "a small label": (ON_BDD, every(BDD_LABELS, SMALL), "is 128x64 but its label ... is 30x20"),
    "a small label of GTAV": (TRAIN, every(GTAV_LABELS, SMALL), "differs in size from its label ... fetch images and"),
    "unknown ids": (TRAIN, every(GTAV_LABELS, label_of(77)), "holds the ids 77, but gtav has 0 to 34"),
    "ids of another version": (ON_MAPILLARY, every(MAPILLARY_LABELS, label_of(100)), "ids 100, but mapillary"),
    "labels of zeros": (
        ON_BDD,
        every(BDD_LABELS, label_of(0)),
        "is road everywhere ... --dataset bdd100k ... --no_check",
    ),
    "a label in colours": (ON_BDD, every(BDD_LABELS, colours), "is a colour image"),
    "SYNTHIA in 8 bits": (ON_SYNTHIA, every(SYNTHIA_LABELS, colours), "unreadable label ... 16-bit"),
    "a label of 16 bits": (TRAIN, every(GTAV_LABELS, sixteen_bits), "unreadable label ... 8-bit"),
    "text as image": (TRAIN, every(GTAV_IMAGES, text), "unreadable image ... fetch the file again"),
    "a truncated PNG": (TRAIN, every(GTAV_IMAGES, truncate), "unreadable image"),
    "a truncated JPEG": (ON_BDD, every(BDD_IMAGES, truncate), "unreadable image"),
    "a bad image in a worker": (f"{TRAIN} --num_workers 1 --no_check", every(GTAV_IMAGES, text), "unreadable image"),
    "an empty image": (TRAIN, every(GTAV_IMAGES, empty), "00001.png: is empty: fetch the file again"),
    "an empty label": (TRAIN, every(GTAV_LABELS, empty), "00001.png: is empty: fetch the file again"),
    "no labelled pixel": (
        GTAV,
        every("GTAV/labels/valid/**/*.png", label_of(0)),
        "gtav val: not one pixel is labelled",
    ),
    "no folder of images": (FOLDER, lambda place: shutil.rmtree(place.pictures), "pictures: no image here"),
    "a folder without images": (FOLDER, rename_picture, "pictures: no image here"),
    # Results
    "a file as folder of runs": (TRAIN, lambda place: place.out.touch(), "{out}/default: Not a directory; mend that"),
    "a file as folder of results": (GTAV, lambda place: place.out.touch(), "{out}: File exists; mend that"),
    # Checkpoints
    "no snapshot": (GTAV, snapshot(Path.unlink), "--snapshot {snapshot}: no such file"),
    "a truncated checkpoint": (GTAV, snapshot(truncate), NOT_READABLE),
    "half a checkpoint": (GTAV, snapshot(halve), NOT_READABLE),
    "an empty checkpoint": (GTAV, snapshot(empty), NOT_READABLE),
    "text as checkpoint": (GTAV, snapshot(text), NOT_READABLE),
    "a malicious checkpoint": (GTAV, malicious(lambda code: {"weights": code}), NOT_READABLE),
    "a malicious pickle": (GTAV, malicious(lambda code: {"weights": code}, pickled), NOT_READABLE),
    "a malicious memory": (GTAV, malicious(lambda code: as_released(0) | {"memory": code}), NOT_READABLE),
    "a malicious release": (GTAV, malicious(as_released), "it holds posix.system, which is more than data"),
    "a malicious old release": (GTAV, malicious(as_released, save_in_old_format), "it holds posix.system"),
    "another network as release": (GTAV, saved(as_released(np.float64(0.1))), "fits no network ... 1 unexpected"),
    "a tensor as checkpoint": (GTAV, saved(torch.zeros(3)), "not a checkpoint of"),
    "another project's checkpoint": (GTAV, saved({"model": {}}), "not a checkpoint of train"),
    "a checkpoint without entries": (GTAV, saved({"network": {}, "weights": {}}), "without code, flags, iteration"),
    "weights that are not numbers": (GTAV, snapshot(with_weights(NOT_NUMBERS)), "last.pth: classifier.bias holds NaN"),
    "no weights": (GTAV, snapshot(with_weights({})), "does not fit the network: ... Missing key"),
}


@pytest.mark.parametrize("name", FILES)
def test_file(name: str, place: Place, capfd: pytest.CaptureFixture) -> None:
    line, spoil, message = FILES[name]
    spoil(place)
    check_mistake(line, message.format(**place._asdict()), place, capfd)


# Whole programs


def test_the_program_ends_with_code_2() -> None:
    command = [sys.executable, "eval.py", "--snapshot", "absent.pth"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("eval.py: error: --snapshot absent.pth: no such file")


@pytest.mark.parametrize("largest", [100, 1500])
def test_a_full_disk(largest: int, place: Place, capsys: pytest.CaptureFixture) -> None:
    """No file may exceed ``largest`` bytes: neither the pictures nor the table of results fit."""
    argv = [*place.flags("eval.py"), "--dataset", "gtav", "--dump_images"]
    with largest_file(largest), pytest.raises(SystemExit) as end:
        run_program("eval.py", lambda: evaluation.main(argv))
    assert end.value.code == 2
    printed = capsys.readouterr()
    check_output(printed.out + printed.err, "eval.py", f"{place.out} ... File too large")
    check_files(place)
