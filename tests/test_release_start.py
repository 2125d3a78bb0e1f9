"""train.py --snapshot: new runs that start from checkpoints of ours and of the authors."""

import json
import re
from pathlib import Path

import pytest
import torch

import train as training
from checkpoints.release_files import parse_release, release_content
from checkpoints.release_names import ITEMS
from checkpoints.run_files import load_checkpoint, save_checkpoint
from checkpoints.starting import load_start
from datasets.labels import STANDARD
from engine.build import network_config, network_from
from engine.options.train_flags import parse_training
from engine.plan import plan
from network.deeplab import build_network
from support.release_files import release_file, release_memory
from utils.errors import UsageError

R18 = "DeepR18V3PlusD"


def training_flags(data: Path, out: Path, *extra: str) -> list[str]:
    line = (
        f"--data_root {data} --exp_root {out} --exp run --val_dataset mapillary --device cpu --arch {R18} "
        "--pretrained_backbone none --crop_size 32 --bs_mult 2 --max_iter 1 --num_workers 0 --mem_init_batches 1 "
        "--val_images 1 --mapillary_crop 64"
    )
    return [*line.split(), *extra]


def run_in(out: Path) -> Path:
    (run,) = (out / "run").iterdir()
    return run


def test_training_from_a_file_of_the_release(
    checkpoints: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """With a learning rate of next to nothing the weights, and the memory but for its momentum, stay."""
    snapshot = ("--memory", "--snapshot", "theirs.pth")
    monkeypatch.chdir(checkpoints)
    still = ("--lr", "1e-12", "--weight_decay", "0", "--mem_momentum", "1")
    assert f"from the weights and the memory of {checkpoints}/theirs.pth" in plan(
        parse_training(training_flags(data, tmp_path, *snapshot))
    )
    training.main(training_flags(data, tmp_path, *snapshot, *still))
    told = capsys.readouterr()
    assert f"starts from {checkpoints}/theirs.pth" in told.out and "first memory" not in told.err
    run = run_in(tmp_path)
    weights = load_checkpoint(run / "last.pth")["weights"]
    torch.testing.assert_close(weights[ITEMS], release_memory(), atol=1e-6, rtol=0)
    for key, value in parse_release(release_file("r18v3p_mem")).weights.items():
        if "running_" not in key and "num_batches" not in key:
            torch.testing.assert_close(weights[key], value, atol=1e-6, rtol=0)
    assert json.loads((run / "flags.json").read_text())["flags"]["snapshot"] == str(checkpoints / "theirs.pth")
    assert parse_training(["--resume", str(run)]).snapshot == checkpoints / "theirs.pth"
    training.main(["--snapshot", str(run / "last.pth"), "--restore_optimizer", "--max_iter", "2"])
    assert "--restore_optimizer: the run goes on, as with --resume" in capsys.readouterr().err
    assert load_checkpoint(run / "last.pth")["iteration"] == 2


def test_training_from_ours_without_its_memory(
    checkpoints: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    training.main(training_flags(data, tmp_path, "--no_aux_loss", "--snapshot", str(checkpoints / "ours.pth")))
    assert "ours.pth, without its memory\n" in capsys.readouterr().out
    assert ITEMS not in load_checkpoint(run_in(tmp_path) / "last.pth")["weights"]


SELECTIVE = [0, 0, 0, 2, 2, 0, 0]  # leaves no trace in weights


def start(path: Path, line: str) -> None:
    """What a run does with its ``--snapshot`` before anything else."""
    args = parse_training(["--arch", R18, "--no_aux_loss", "--snapshot", str(path), *line.split()])
    config = network_config(args, STANDARD)
    load_start(network_from(config), args, config)


def ours_with(checkpoints: Path, path: Path, **network: object) -> Path:
    content = load_checkpoint(checkpoints / "ours.pth")
    save_checkpoint(path, content | {"network": content["network"] | network})
    return path


@pytest.mark.parametrize(
    ("network", "line"),
    [
        ({"image_in": True}, "--image_in"),
        ({"image_in": False}, ""),
        ({}, "--image_in"),  # an older file, which does not say it
        ({"wt_layer": SELECTIVE}, "--wt_layer 0 0 0 2 2 0 0"),
        (None, "--image_in"),
        (None, "--wt_layer 0 0 0 2 2 0 0"),
    ],
)
def test_starts_that_the_file_allows(
    network: dict | None, line: str, checkpoints: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Without ``network`` the file is the authors', which cannot tell any of it."""
    path = checkpoints / "theirs.pth" if network is None else ours_with(checkpoints, tmp_path / "x.pth", **network)
    start(path, line)
    left_out = "memory" if network is not None else "memory and auxiliary head"
    assert capsys.readouterr().out == f"note: starts from {path}, without its {left_out}\n"


@pytest.mark.parametrize(
    ("network", "line", "told"),
    [
        ({"image_in": True}, "", "was trained on images normalised each by itself; add --image_in"),
        ({"image_in": False}, "--image_in", "was trained on images normalised by ImageNet; drop --image_in"),
        ({"wt_layer": SELECTIVE}, "", "--wt_layer 0 0 0 0 0 0 0: .* other norms; give --wt_layer 0 0 0 2 2 0 0"),
        ({}, "--wt_layer 0 0 0 2 2 0 0", "other norms; give --wt_layer 0 0 0 0 0 0 0"),
        ({"later": 1}, "", "another version"),
    ],
)
def test_starts_that_our_file_forbids(network: dict, line: str, told: str, checkpoints: Path, tmp_path: Path) -> None:
    path = ours_with(checkpoints, tmp_path / "x.pth", **network)
    with pytest.raises(UsageError, match=told) as error:
        start(path, line)
    assert str(path) in str(error.value)


def test_what_goes_on_otherwise_is_noted(checkpoints: Path, capsys: pytest.CaptureFixture) -> None:
    path = checkpoints / "ours.pth"
    start(path, "--memory --output_stride 16 --read_temp 0.5")
    assert capsys.readouterr().out.splitlines() == [
        f"note: {path}: of output stride 32, used at 16",
        f"note: {path}: its memory was read at --read_temp 1.0, and is now at 0.5",
        f"note: starts from {path}",
    ]
    start(path, "--memory --output_stride 32 --read_temp 1")
    assert capsys.readouterr().out == f"note: starts from {path}\n"


@pytest.mark.parametrize(
    ("name", "line", "told"),
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
    name: str, line: str, told: str, checkpoints: Path, data: Path, tmp_path: Path
) -> None:
    path = (checkpoints if name in ("theirs", "ours") else tmp_path) / f"{name}.pth"
    if name == "baseline":
        content = release_file("r18v3p_mem")
        del content["memory"]
        content["state_dict"] = {key: v for key, v in content["state_dict"].items() if "memory" not in key}
        torch.save(content, path)
    if name == "seven":
        torch.save(release_content(build_network(R18, 7).state_dict()), path)
    argv = training_flags(data, tmp_path, "--snapshot", str(path), *line.split())
    with pytest.raises(UsageError, match=re.escape(told)) as error:
        training.main(argv)
    assert f"{name}.pth" in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--arch network.deepv3plus.DeepWV3Plus", "no such network"),
        ("--memory --mem_slot 3", "--mem_slot 3"),
        ("--pretrained_backbone absent.pth", "absent.pth: no such file"),
        ("--restore_optimizer", "says nothing without --snapshot"),
    ],
)
def test_the_plan_tells_of_mistakes(line: str, told: str, data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=re.escape(told)):
        parse_training(training_flags(data, tmp_path, "--plan", *line.split()))
