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
from datasets.labels import STANDARD, ClassSet
from engine.build import network_config, network_from
from engine.options.training_command import parse_training
from engine.plan import plan
from network.deeplab import build_network
from support.release_files import release_memory
from support.snapshots import write_snapshot
from utils.errors import UsageError

R18 = "DeepR18V3PlusD"
pytestmark = pytest.mark.usefixtures("thin_resnet")


def training_flags(data: Path, out: Path, *extra: str) -> list[str]:
    line = (
        f"--data_root {data} --exp_root {out} --exp run --val_dataset mapillary --device cpu --arch {R18} "
        "--pretrained_backbone none --crop_size 32 --bs_mult 2 --max_iter 1 --num_workers 0 --mem_init_batches 1 "
        "--val_images 1 --mapillary_crop 64 --lr 1e-4"  # batches this small give gradients of thousands
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
    for key, value in parse_release(read_checkpoint(checkpoints / "theirs.pth", ""), Path("x.pth"))[0].items():
        if "running_" not in key and "num_batches" not in key:
            torch.testing.assert_close(weights[key], value, atol=1e-6, rtol=0)
    assert json.loads((run / "flags.json").read_text())["flags"]["snapshot"] == str(checkpoints / "theirs.pth")
    assert parse_training(["--resume", str(run)]).run.snapshot == checkpoints / "theirs.pth"


SELECTIVE = [0, 0, 0, 2, 2, 0, 0]  # leaves no trace in weights


def start(path: Path, line: str) -> None:
    """Do what a run does first with its ``--snapshot``."""
    options = parse_training(["--arch", R18, "--no_aux_loss", "--snapshot", str(path), *line.split()])
    config = network_config(options.network, STANDARD, memory=options.entry.memory)
    load_start(network_from(config), path, config)


@pytest.mark.parametrize(
    ("network", "line", "message"),
    [
        ({"image_in": True}, "--image_in", None),
        ({}, "--image_in", None),  # an older file, which does not hold it
        ({"wt_layer": SELECTIVE}, "--wt_layer 0 0 0 2 2 0 0", None),
        ({"output_stride": 16}, "--output_stride 32", None),
        ({"image_in": True}, "", r"normalisation \(--image_in\): there each image by itself, here by ImageNet"),
        ({"image_in": False}, "--image_in", r"normalisation \(--image_in\): there by ImageNet, here each image"),
        ({"wt_layer": SELECTIVE}, "", r"norms \(--wt_layer\): there 0 0 0 2 2 0 0, here 0 0 0 0 0 0 0"),
        ({}, "--wt_layer 0 0 0 2 2 0 0", r"norms \(--wt_layer\): there 0 0 0 0 0 0 0, here 0 0 0 2 2 0 0"),
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
    with pytest.raises(UsageError, match=f"--snapshot {path}: another .*{message}"):
        start(path, line)


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("theirs", "--arch DeepR50V3PlusD", "another network (--arch): there DeepR18V3PlusD, here DeepR50V3PlusD"),
        ("theirs", "--wt_layer 0 0 4 4 4 0 0", "--wt_layer): there 0 0 0 0 0 0 0, here 0 0 4 4 4 0 0"),
        ("theirs", "--memory --mem_slot 20", "--mem_residual): there 19 items, here 20 items"),
        ("theirs", "--memory --mem_dim 64", "--mem_dim): there 256, here 64"),
        ("seven", "", "classes: there 7, here road, "),
        ("ours", "--memory", "another auxiliary head (without one: --no_aux_loss): there none, here one"),
        ("theirs", "--restore_optimizer", "--restore_optimizer: name the run by --resume RUN"),
        ("absent", "--plan", "absent.pth: no such file"),
    ],
)
def test_snapshots_that_training_cannot_start_from(
    name: str, line: str, message: str, checkpoints: Path, data: Path, tmp_path: Path
) -> None:
    path = (checkpoints if name in ("theirs", "ours") else tmp_path) / f"{name}.pth"
    if name == "seven":
        torch.save(release_content(build_network(R18, 7).state_dict()), path)
    with pytest.raises(UsageError, match=re.escape(message)) as error:
        training.main(training_flags(data, tmp_path, "--snapshot", str(path), *line.split()))
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()


THREE = ClassSet(STANDARD.names[:3], STANDARD.colours[:3])
KEPT = "encoder.project.0.weight"  # a weight that no part of --fresh has


@pytest.mark.parametrize(
    ("file", "classes", "memory", "fresh", "note"),
    [
        ("ours", THREE, True, ("classifier", "memory"), ", with a new classifier and a new memory"),
        ("ours", THREE, False, ("classifier",), ", without its memory, with a new classifier"),
        ("theirs", THREE, False, ("classifier",), ", without its memory and auxiliary head, with a new classifier"),
        ("ours", STANDARD, True, ("classifier",), ", with a new classifier"),
        ("baseline", STANDARD, True, ("memory",), ", with a new memory"),
        ("ours", THREE, True, (), "another list of classes"),
        ("ours", THREE, True, ("classifier",), "another list of classes"),  # the memory is of the old ones
        ("ours", THREE, True, ("memory",), "another list of classes"),
        ("baseline", STANDARD, True, ("classifier",), r"another memory .*; for other classes or a new memory: --fresh"),
        ("baseline", STANDARD, True, (), "another memory"),
    ],
)
def test_parts_that_start_anew(
    file: str,
    classes: ClassSet,
    memory: bool,
    fresh: tuple[str, ...],
    note: str,
    checkpoints: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    path = checkpoints / f"{file}.pth"
    if file == "baseline":
        path = write_snapshot(tmp_path / "baseline.pth", memory=False)
    options = parse_training(["--arch", R18, "--no_aux_loss", "--snapshot", str(path)])
    config = network_config(options.network, classes, memory=memory)
    net = network_from(config)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    if note.startswith("another"):
        with pytest.raises(UsageError, match=note):
            load_start(net, path, config, fresh=fresh)
        return
    load_start(net, path, config, fresh=fresh)
    assert capsys.readouterr().out.splitlines()[-1] == f"note: starts from {path}{note}"
    changed = {key for key, value in net.state_dict().items() if not torch.equal(value, before[key])}
    assert KEPT in changed and ("classifier.weight" in changed) == ("classifier" not in fresh)
    assert any(key.startswith("memory.") for key in changed) == (memory and "memory" not in fresh)


def test_a_baseline_becomes_a_memory(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """The first memory is written, as in a run without a snapshot."""
    path = write_snapshot(tmp_path / "baseline.pth", memory=False)
    flags = ("--memory", "--no_aux_loss", "--snapshot", str(path), "--fresh", "memory")
    assert f"starts      from the weights of {path}, with a new memory" in plan(
        parse_training(training_flags(data, tmp_path, *flags))
    )
    training.main(training_flags(data, tmp_path, *flags, "--lr", "1e-12", "--weight_decay", "0"))
    weights = load_checkpoint(run_of(tmp_path) / "last.pth")["weights"]
    assert "first memory" in capsys.readouterr().err
    torch.testing.assert_close(weights[KEPT], load_checkpoint(path)["weights"][KEPT], atol=1e-6, rtol=0)
    torch.testing.assert_close(weights[ITEMS].norm(dim=1), torch.ones(19))
    assert parse_training(["--resume", str(run_of(tmp_path))]).run.fresh == ("memory",)


@pytest.mark.parametrize(
    ("line", "needed"),
    [("--fresh classifier", "--snapshot"), ("--fresh memory --snapshot theirs.pth", "--memory")],
)
def test_parts_that_cannot_start_anew(line: str, needed: str) -> None:
    with pytest.raises(UsageError, match=f"--fresh.* changes nothing without {needed}"):
        parse_training(line.split())


def test_their_file_does_not_say_all(checkpoints: Path, capsys: pytest.CaptureFixture) -> None:
    path = checkpoints / "theirs.pth"
    start(path, "--image_in --wt_layer 0 0 0 2 2 0 0")
    _, last = capsys.readouterr().out.splitlines()
    assert last == f"note: starts from {path}, without its memory and auxiliary head"
