"""Each mistake of a user: one line that names the flag or file and the remedy, exit code 2, nothing half-written."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from PIL import Image

import ablation
import eval as evaluation
import train as training
from datasets.demo import write_demo
from support.disks import largest_file
from utils.program import run_program

pytestmark = pytest.mark.usefixtures("thin_resnet")

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
    "train.py --max_iters 3": "--max_iters: no such flag; did you mean --max_iter?",
    "train.py --ema 2": "--ema: no such flag (all flags",
    "train.py --gblur yes": "yes: one value too many for what stands before it",
    "train.py --crop_size big": "argument --crop_size: big: give a whole number of 1 or more",
    "train.py --lr nan": "argument --lr: nan: give a number",
    "train.py --max_iter 0": "argument --max_iter: 0: give a whole number of 1 or more",
    "train.py --seed -1": "argument --seed: -1: give a whole number from 0",
    "train.py --num_workers -1": "argument --num_workers: -1: give a whole number of 0 or more",
    # Training
    "train.py --dataset gta5": "no data set is called gta5: choose from cityscapes, gtav",
    "train.py --wt_layer 0 0 6 0 0 0 0": "argument --wt_layer: 6: give a whole number from 0 to 5",
    "train.py --scale_min 3": "--scale_min 3.0 is above --scale_max 2.0: exchange them",
    "train.py --bs_mult 1 --mldg --plan": "--bs_mult 1: batch norm needs two images",
    "train.py --city_mode trainval": "argument --city_mode: invalid choice: 'trainval'",
    "train.py --device cuda:99": "--device cuda:99: not usable here ... try --device cpu",
    "train.py --pretrained_backbone absent.pth": "--pretrained_backbone absent.pth: no such file",
    "train.py --pretrained_backbone {this}": "not a readable file of weights",
    "train.py --exp_root /proc/runs": "/proc/runs: No such file or directory; name ... --exp_root",
    "train.py --exp ../../x": "--exp ../../x: lies outside of --exp_root",
    "train.py --exp /x": "--exp /x: lies outside of --exp_root",
    "train.py --resume absent": "--resume absent: no checkpoint there",
    "train.py --lr 1e30 --max_iter 4 --val_interval 4": "a loss is not finite (seg  ... aux  ... try a smaller --lr",
    "train.py --optimizer adamw --momentum 0.5": "--momentum changes nothing without --optimizer sgd",
    # The method
    "train.py --method dropout": "argument --method: invalid choice: 'dropout'",
    "train.py --method mldg --memory": "--method mldg contradicts --memory: drop one of them",
    "train.py --dataset gtav --mldg": "MLDG needs two domains ... this one twice (--dataset gtav gtav)",
    "train.py --mem_momentum 2": "argument --mem_momentum: 2: give a number from 0 to 1",
    "train.py --memory --mem_slot 3": "--mem_slot 3: every one of the 19 classes needs a slot",
    # Class-uniform sampling
    "train.py --coarse_boost_classes 14 --class_uniform_pct 0.5": "changes nothing without  ... and cityscapes",
    "train.py --coarse_boost_classes 19 --class_uniform_pct 1 --dataset cityscapes": "19: give classes from 0 to 18",
    # Evaluation
    "eval.py --snapshot {data}": "--snapshot {data}: a folder without model.safetensors and config.json",
    "eval.py --arch DeepR50V3PlusD": "--snapshot {snapshot}: another network (--arch): there DeepR18V3PlusD",
    "eval.py --arch DeepR99": "--arch DeepR99: no such network; known are",
    "eval.py --wt_layer 0 0 4 4 4 0 0": "--snapshot {snapshot}: another list of norms (--wt_layer): there 0",
    "eval.py --memory": "--memory: ... holds none; drop --memory",
    "eval.py --dataset bdd100k --split test": "bdd100k has no labelled split 'test'",
    "eval.py --dataset gtav --out /proc/results": "/proc/results: No such file or directory; mend that",
    "eval.py --dataset video_folder gtav": "no data set is called video_folder",
    "eval.py --images x --dataset gtav": "--images and --dataset exclude each other",
    "eval.py --images absent": "no image or video here",
    "eval.py --gumbel_off --gumbel_eval 2": "--gumbel_off and --gumbel_eval above 0 exclude each other",
    "eval.py --scales 0.5,1.0": "--scales changes nothing without --inference_mode",
    "eval.py --scales 1e9 --inference_mode pooling": "argument --scales: 1e9: give a number from",
    "eval.py --sliding_overlap 1": "argument --sliding_overlap: 1: give a number from 0 to 0.99",
    # Target-specific normalisation
    "eval.py --target_norm_seeds 3": "--target_norm_seeds changes nothing without --target_norm",
    "eval.py --target_norm 8 --inference_mode sliding": "--target_norm and --inference_mode exclude each other",
    # Figures
    "ablation.py": "--centre_crop changes nothing without --tsne, --mem_actmap or --memory_report",
    "eval.py --pca": "--pca changes nothing without --tsne",
    "eval.py --duplication 2": "--duplication changes nothing without --tsne",
    "eval.py --video_as colours": "--video_as changes nothing without --images",
    "eval.py --tsne --images x": "--images and --tsne exclude each other",
    "eval.py --mem_actmap --inference_mode sliding": "--mem_actmap and --inference_mode exclude each other",
    "eval.py --mem_actmap --dataset gtav": "--mem_actmap: {snapshot} holds no memory",
    "eval.py --memory_report --dataset gtav": "--memory_report: {snapshot} holds no memory",
    "eval.py --memory_report --images x": "--images and --memory_report exclude each other",
    "eval.py --memory_report --gumbel_eval 1": "--memory_report and --gumbel_eval above 0 exclude each other",
    "eval.py --memory_report --all_class": "--all_class changes nothing without --tsne or --mem_actmap",
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


def snapshot(change: Change) -> Spoil:
    return lambda place: change(place.snapshot)


def text(path: Path) -> None:
    path.write_text("no picture\n")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def label_of(train_id: int, size: tuple[int, int] = (128, 64)) -> Change:
    return lambda path: Image.new("L", size, train_id).save(path)


def colours(path: Path) -> None:
    Image.new("RGB", (128, 64), (3, 0, 0)).save(path)


def with_weights(weights: dict[str, torch.Tensor]) -> Change:
    return lambda path: torch.save(torch.load(path, weights_only=True) | {"weights": weights}, path)


class Malicious:
    """Writes a file when a pickle with it is loaded without care."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.marker}",)


def malicious(place: Place) -> None:
    torch.save({"state_dict": {"x": torch.zeros(1)}, "mean_iu": Malicious(place.marker)}, place.snapshot)


def without(pattern: str) -> Spoil:
    return lambda place: [shutil.rmtree(path) for path in place.data.glob(pattern)]


TRAIN, GTAV = "train.py", "eval.py --dataset gtav"
ON_BDD, ON_MAPILLARY, ON_SYNTHIA = (f"train.py --dataset {name}" for name in ("bdd100k", "mapillary", "synthia"))
NOT_READABLE = "--snapshot {snapshot}: not a readable checkpoint"
ROAD = "is road everywhere ... --dataset bdd100k ... --no_check"
UNLABELLED = every("GTAV/labels/valid/**/*.png", label_of(0))
NOT_NUMBERS = with_weights({"classifier.bias": torch.full((19,), torch.nan)})
FILES: dict[str, tuple[str, Spoil, str]] = {
    # Data
    "no data root": (TRAIN, lambda place: shutil.rmtree(place.data), "data: no folder GTAV ... --data_root"),
    "no training images": (TRAIN, without("GTAV/images/train"), "GTAV: no image found ... expected there"),
    "no labels": (TRAIN, without("GTAV/labels/train"), "has no label ... complete the labels"),
    "a small label": (ON_BDD, every(BDD_LABELS, label_of(7, (30, 20))), "is 128x64 but its label ... is 30x20"),
    "ids of another version": (ON_MAPILLARY, every(MAPILLARY_LABELS, label_of(100)), "ids 100, but mapillary"),
    "labels of zeros": (ON_BDD, every(BDD_LABELS, label_of(0)), ROAD),
    "SYNTHIA in 8 bits": (ON_SYNTHIA, every(SYNTHIA_LABELS, colours), "unreadable label ... 16-bit"),
    "a label in colours": (ON_BDD, every(BDD_LABELS, colours), "is a colour image"),
    "a truncated JPEG": (ON_BDD, every(BDD_IMAGES, truncate), "unreadable image ... fetch the file again"),
    "a bad image in a worker": (f"{TRAIN} --num_workers 1 --no_check", every(GTAV_IMAGES, text), "unreadable image"),
    "an empty label": (TRAIN, every(GTAV_LABELS, empty), "00001.png: unreadable ... its 0 bytes begin"),
    "void labels in an evaluation": (GTAV, UNLABELLED, "is ignored everywhere ... --dataset gtav ... --no_check"),
    "no labelled pixel": (f"{GTAV} --no_check", UNLABELLED, "gtav val: not one pixel is labelled"),
    # Results
    "a file as folder of runs": (
        TRAIN,
        lambda place: place.out.touch(),
        "{out}/default: Not a directory; name",
    ),
    # Checkpoints
    "a truncated checkpoint": (GTAV, snapshot(truncate), NOT_READABLE),
    "text as checkpoint": (GTAV, snapshot(text), NOT_READABLE),
    "a malicious checkpoint": (GTAV, malicious, "it holds posix.system, which is more than data"),
    "another tensor": (GTAV, lambda place: torch.save(torch.ones(1), place.snapshot), "not a checkpoint of train.py"),
    "weights that are not numbers": (GTAV, snapshot(NOT_NUMBERS), "last.pth: weights/classifier.bias holds NaN"),
    "no weights": (GTAV, snapshot(with_weights({})), "does not fit the network: Missing key ... ...; give"),
}


@pytest.mark.parametrize("name", FILES)
def test_file(name: str, place: Place, capfd: pytest.CaptureFixture) -> None:
    line, spoil, message = FILES[name]
    spoil(place)
    check_mistake(line, message.format(**place._asdict()), place, capfd)


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
