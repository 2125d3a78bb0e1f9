"""train.py --snapshot: new runs that start from checkpoints of ours and of the authors."""

import json
import re
from pathlib import Path

import pytest
import torch
from test_resume import run_of

import train as training
from checkpoints.adoption import load_start
from checkpoints.release_format import ITEMS, parse_release, release_content
from checkpoints.run_files import load_checkpoint, read_checkpoint
from datasets.labels import STANDARD
from engine.build import network_config, network_from
from engine.options.training_command import parse_training
from engine.plan import plan
from network.deeplab import build_network
from support.release_files import release_memory
from utils.errors import UsageError

R18 = "DeepR18V3PlusD"
pytestmark = pytest.mark.usefixtures("thin_resnet")


def training_flags(data: Path, out: Path, *extra: str) -> list[str]:
    line = (
        f"--data_root {data} --exp_root {out} --exp run --val_dataset mapillary --device cpu --arch {R18} "
        "--pretrained_backbone none --crop_size 32 --bs_mult 2 --max_iter 1 --num_workers 0 --mem_init_batches 1 "
        "--val_images 1 --mapillary_crop 64"
    )
    return [*line.split(), *extra]


def test_training_from_a_file_of_the_release(
    checkpoints: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """With a tiny learning rate, and a memory that keeps its old items, all weights stay."""
    snapshot = ("--memory", "--snapshot", "theirs.pth")
    monkeypatch.chdir(checkpoints)
    still = ("--lr", "1e-12", "--weight_decay", "0", "--mem_momentum", "1")
    assert f"from the weights and the memory of {checkpoints}/theirs.pth" in plan(
        parse_training(training_flags(data, tmp_path, *snapshot))
    )
    training.main(training_flags(data, tmp_path, *snapshot, *still))
    output = capsys.readouterr()
    assert f"starts from {checkpoints}/theirs.pth" in output.out and "first memory" not in output.err
    run = run_of(tmp_path)
    weights = load_checkpoint(run / "last.pth")["weights"]
    torch.testing.assert_close(weights[ITEMS], release_memory(), atol=1e-6, rtol=0)
    for key, value in parse_release(read_checkpoint(checkpoints / "theirs.pth", ""), Path("x.pth")).weights.items():
        if "running_" not in key and "num_batches" not in key:
            torch.testing.assert_close(weights[key], value, atol=1e-6, rtol=0)
    assert json.loads((run / "flags.json").read_text())["flags"]["snapshot"] == str(checkpoints / "theirs.pth")
    assert parse_training(["--resume", str(run)]).run.snapshot == checkpoints / "theirs.pth"
    training.main(["--snapshot", str(run / "last.pth"), "--restore_optimizer", "--max_iter", "2"])
    assert "--restore_optimizer: the run goes on, as with --resume" in capsys.readouterr().err
    assert load_checkpoint(run / "last.pth")["iteration"] == 2


def test_training_from_ours_without_its_memory(
    checkpoints: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    training.main(training_flags(data, tmp_path, "--no_aux_loss", "--snapshot", str(checkpoints / "ours.pth")))
    assert "ours.pth, without its memory\n" in capsys.readouterr().out
    assert ITEMS not in load_checkpoint(run_of(tmp_path) / "last.pth")["weights"]


SELECTIVE = [0, 0, 0, 2, 2, 0, 0]  # leaves no trace in weights


def start(path: Path, line: str) -> None:
    """Do what a run does first with its ``--snapshot``."""
    options = parse_training(["--arch", R18, "--no_aux_loss", "--snapshot", str(path), *line.split()])
    network = options.network
    config = network_config(network, STANDARD, memory=options.entry.memory)
    load_start(network_from(config), path, config, arch=R18, wt_layer=network.wt_layer, image_in=network.image_in)


@pytest.mark.parametrize(
    ("network", "line", "message"),
    [
        ({"image_in": True}, "--image_in", None),
        ({"image_in": False}, "", None),
        ({}, "--image_in", None),  # an older file, which does not hold it
        ({"wt_layer": SELECTIVE}, "--wt_layer 0 0 0 2 2 0 0", None),
        ({"image_in": True}, "", "was trained on images normalised each by itself; add --image_in"),
        ({"image_in": False}, "--image_in", "was trained on images normalised by ImageNet; drop --image_in"),
        ({"wt_layer": SELECTIVE}, "", "--wt_layer 0 0 0 0 0 0 0: .* other norms; give e.g. --wt_layer 0 0 0 2 2 0 0"),
        ({}, "--wt_layer 0 0 0 2 2 0 0", "other norms; give e.g. --wt_layer 0 0 0 0 0 0 0"),
    ],
)
def test_flags_against_what_our_file_holds(
    network: dict, line: str, message: str | None, checkpoints: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path, content = tmp_path / "x.pth", load_checkpoint(checkpoints / "ours.pth")
    torch.save(content | {"network": content["network"] | network}, path)
    if message is None:
        start(path, line)
        assert capsys.readouterr().out == f"note: starts from {path}, without its memory\n"
        return
    with pytest.raises(UsageError, match=message) as error:
        start(path, line)
    assert str(path) in str(error.value)


CHANGES = ["{}: of output stride 32, used at 16", "{}: its memory was read at --read_temp 1.0, and is now at 0.5"]


@pytest.mark.parametrize(
    ("name", "line", "notes"),
    [  # their file says nothing about these two flags
        ("theirs", "--image_in --wt_layer 0 0 0 2 2 0 0", ["starts from {}, without its memory and auxiliary head"]),
        ("ours", "--memory --output_stride 16 --read_temp 0.5", [*CHANGES, "starts from {}"]),
        ("ours", "--memory --output_stride 32 --read_temp 1", ["starts from {}"]),
    ],
)
def test_notes(name: str, line: str, notes: list[str], checkpoints: Path, capsys: pytest.CaptureFixture) -> None:
    path = checkpoints / f"{name}.pth"
    start(path, line)
    assert capsys.readouterr().out.splitlines() == [f"note: {note.format(path)}" for note in notes]


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("theirs", "--arch DeepR50V3PlusD", "holds a DeepR18V3PlusD; give --arch DeepR18V3PlusD"),
        ("theirs", "--wt_layer 0 0 4 4 4 0 0", "holds other norms; give e.g. --wt_layer 0 0 0 0 0 0 0"),
        ("theirs", "--memory --mem_slot 20", "is not 20 x 256; give --mem_slot 19 --mem_dim 256"),
        ("baseline", "--memory", "holds none; drop --memory"),
        ("ours", "--memory", "has no auxiliary head; add --no_aux_loss"),
        ("seven", "", "has 7 classes, not 19"),
        ("theirs", "--restore_optimizer", "cannot be resumed exactly; drop the flag"),
        ("absent", "", "no such file"),
        ("absent", "--plan", "no such file"),
    ],
)
def test_snapshots_that_training_cannot_start_from(
    name: str, line: str, message: str, checkpoints: Path, data: Path, tmp_path: Path
) -> None:
    path = (checkpoints if name in ("theirs", "ours") else tmp_path) / f"{name}.pth"
    if name in ("baseline", "seven"):
        torch.save(release_content(build_network(R18, 7 if name == "seven" else 19).state_dict()), path)
    argv = training_flags(data, tmp_path, "--snapshot", str(path), *line.split())
    with pytest.raises(UsageError, match=re.escape(message)) as error:
        training.main(argv)
    assert f"{name}.pth" in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [("--pretrained_backbone absent.pth", "absent.pth: no such file"), ("--restore_optimizer", "needs --snapshot")],
)
def test_mistakes_are_seen_before_training(line: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_training(line.split())
