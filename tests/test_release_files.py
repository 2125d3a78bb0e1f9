"""Checkpoints of the authors' release: evaluated, trained from, converted."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from releases import EPOCH, release_file, release_memory, write_release
from snapshots import write_snapshot
from test_shipped_scripts import EVALUATE, EVALUATION, call

import eval as evaluation
import train as training
from datasets.demo import write_demo
from engine.plan import plan
from engine.train_flags import parse_training
from network.deeplab import build_network
from tools import compare, convert
from utils.checkpoint import load_checkpoint, read_checkpoint
from utils.errors import UsageError
from utils.release_files import parse_release, release_content
from utils.release_names import ITEMS

ROOT = Path(__file__).parent.parent
R18 = "DeepR18V3PlusD"

# Evaluation


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("releases")
    domains = ["gtav", "synthia", "cityscapes"]
    write_demo(home / "data", domains=domains, train=2, val=2, size=(64, 128), seed=1, workers=1)
    write_release(home / "theirs.pth", mean_iu=np.float64(0.02565273940081578))
    write_snapshot(home / "ours.pth", memory=True)
    return home


def evaluate(home: Path, line: str) -> None:
    evaluation.main(f"--data_root {home / 'data'} --device cpu --num_workers 0 {line}".split())


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def test_evaluation_of_a_file_of_the_release(home: Path, capsys: pytest.CaptureFixture) -> None:
    """The demo's domains score as with the same weights in a file of ours."""
    scores = "--dataset gtav cityscapes"
    evaluate(home, f"--snapshot {home}/theirs.pth --arch network.deepv3plus.{R18} --memory {scores}")
    told = capsys.readouterr().out
    assert told.count("note:") == 1 and "mean mIoU of 2 domains" in told
    evaluate(home, f"--snapshot {home}/ours.pth {scores}")
    theirs, ours = results(home / "theirs/whole"), results(home / "ours/whole")
    assert theirs["domains"] == ours["domains"]
    known = theirs["trained"]
    assert known["origin"] == {"format": "release", "epoch": EPOCH, "mean_iu": 0.02565273940081578}
    assert (known["iteration"], known["flags"], known["code"]) == (None, {}, None)
    assert known["network"]["arch"] == f"network.deepv3plus.{R18}"
    compare.main([f"theirs={home}/theirs/whole", f"ours={home}/ours/whole"])
    assert "| gtav | not known |" in capsys.readouterr().out


def test_output_stride(home: Path, capsys: pytest.CaptureFixture) -> None:
    line = "--dataset gtav --limit 1 --output_stride 8"
    for name in ("theirs", "ours"):
        evaluate(home, f"--snapshot {home}/{name}.pth {line} --out {home}/os8/{name}")
    assert "of output stride 32, used at 8" in capsys.readouterr().out
    theirs, ours = (results(home / "os8" / name) for name in ("theirs", "ours"))
    assert theirs["domains"] == ours["domains"] and theirs["trained"]["network"]["output_stride"] == 8


def test_folder_and_figures(home: Path) -> None:
    images = home / "data/synthia/RGB/val"
    evaluate(home, f"--snapshot {home}/theirs.pth --images {images} --limit 1")
    record = json.loads((home / "theirs/whole/val/snapshot.json").read_text())
    assert record["iteration"] is None and record["network"]["arch"].endswith(R18)
    evaluate(home, f"--snapshot {home}/theirs.pth --dataset gtav --mem_actmap --limit 1")
    assert len(list((home / "theirs/memory_activation/gtav_val/sheets").iterdir())) == 1


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--arch network.deepv3plus.DeepR50V3PlusD", "holds a DeepR18V3PlusD; give --arch DeepR18V3PlusD"),
        ("--wt_layer 0 0 4 4 4 0 0", "holds 0 0 0 0/1/2/3 0/1/2/3"),
        ("--arch DeepR99", "--arch DeepR99: no such network"),
    ],
)
def test_flags_that_contradict_the_file(line: str, told: str, home: Path) -> None:
    with pytest.raises(UsageError, match=re.escape(told)) as error:
        evaluate(home, f"--snapshot {home}/theirs.pth {line}")
    assert "theirs.pth" in str(error.value) or "R99" in line


def test_other_numbers_of_classes_have_no_tables(tmp_path: Path, home: Path) -> None:
    torch.save(release_content(build_network(R18, 7).state_dict()), tmp_path / "x.pth")
    with pytest.raises(UsageError, match=r"tells 7 classes apart.* 19 classes only"):
        evaluate(home, f"--snapshot {tmp_path}/x.pth --dataset gtav")


def test_the_authors_script_with_their_weights_in_place(home: Path, tmp_path: Path) -> None:
    script = "eval_pinmem_DR50V3P.sh"
    for name in ("tools", EVALUATION):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("eval.py", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    snapshot = tmp_path / "pretrained_model" / EVALUATE[script][1]
    snapshot.parent.mkdir(parents=True)
    write_release(snapshot, "r50v3p_mem")
    small = ("--crop_size", "64", "--num_workers", "0", "--device", "cpu", "--limit", "1")
    done = call(tmp_path / EVALUATION / script, *small, folder=home, DATA_ROOT="data")
    assert done.returncode == 0, done.stderr
    protocol = results(snapshot.with_suffix("") / "sliding_1.0_flip")["domains"]["cityscapes"]["protocol"]
    assert (protocol["memory_read"], protocol["mode"], protocol["window"]) == ("gumbel", "sliding", 64)


# Training


def training_flags(home: Path, out: Path, *extra: str) -> list[str]:
    line = (
        f"--data_root {home / 'data'} --exp_root {out} --exp run --val_dataset cityscapes --device cpu --arch {R18} "
        "--pretrained_backbone none --crop_size 32 --bs_mult 2 --max_iter 1 --num_workers 0 --mem_init_batches 1 "
        "--val_images 1"
    )
    return [*line.split(), *extra]


def run_in(out: Path) -> Path:
    (run,) = (out / "run").iterdir()
    return run


def test_training_from_a_file_of_the_release(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """With a learning rate of next to nothing the weights, and the memory but for its momentum, stay."""
    snapshot = ("--memory", "--snapshot", "theirs.pth")
    monkeypatch.chdir(home)
    still = ("--lr", "1e-12", "--weight_decay", "0", "--mem_momentum", "1")
    assert f"from the weights and the memory of {home}/theirs.pth" in plan(
        parse_training(training_flags(home, tmp_path, *snapshot))
    )
    training.main(training_flags(home, tmp_path, *snapshot, *still))
    told = capsys.readouterr()
    assert f"starts from {home}/theirs.pth" in told.out and "first memory" not in told.err
    run = run_in(tmp_path)
    weights = load_checkpoint(run / "last.pth")["weights"]
    torch.testing.assert_close(weights[ITEMS], release_memory(), atol=1e-6, rtol=0)
    for key, value in parse_release(release_file("r18v3p_mem")).weights.items():
        if "running_" not in key and "num_batches" not in key:
            torch.testing.assert_close(weights[key], value, atol=1e-6, rtol=0)
    assert json.loads((run / "flags.json").read_text())["flags"]["snapshot"] == str(home / "theirs.pth")
    assert parse_training(["--resume", str(run)]).snapshot == home / "theirs.pth"
    training.main(["--snapshot", str(run / "last.pth"), "--restore_optimizer", "--max_iter", "2"])
    assert "--restore_optimizer: the run goes on, as with --resume" in capsys.readouterr().err
    assert load_checkpoint(run / "last.pth")["iteration"] == 2


def test_training_from_ours_without_its_memory(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    training.main(training_flags(home, tmp_path, "--no_aux_loss", "--snapshot", str(home / "ours.pth")))
    assert "ours.pth, without its memory\n" in capsys.readouterr().out
    assert ITEMS not in load_checkpoint(run_in(tmp_path) / "last.pth")["weights"]


@pytest.mark.parametrize(
    ("name", "line", "told"),
    [
        ("theirs", "--arch DeepR50V3PlusD", "holds a DeepR18V3PlusD; give --arch DeepR18V3PlusD"),
        ("theirs", "--wt_layer 0 0 4 4 4 0 0", "holds 0 0 0 0/1/2/3"),
        ("theirs", "--memory --mem_slot 20", "is not 20 x 256; give --mem_slot 19 --mem_dim 256"),
        ("baseline", "--memory", "holds none; drop --memory"),
        ("ours", "--memory", "has no auxiliary head; add --no_aux_loss"),
        ("seven", "", "has 7 classes, not 19"),
        ("theirs", "--restore_optimizer", "cannot be resumed exactly; drop the flag"),
        ("absent", "", "no such file"),
        ("absent", "--plan", "no such file"),
    ],
)
def test_snapshots_that_training_cannot_start_from(name: str, line: str, told: str, home: Path, tmp_path: Path) -> None:
    if name == "baseline":
        content = release_file("r18v3p_mem")
        del content["memory"]
        content["state_dict"] = {key: v for key, v in content["state_dict"].items() if "memory" not in key}
        torch.save(content, home / "baseline.pth")
    if name == "seven":
        torch.save(release_content(build_network(R18, 7).state_dict()), home / "seven.pth")
    argv = training_flags(home, tmp_path, "--snapshot", str(home / f"{name}.pth"), *line.split())
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
def test_the_plan_tells_of_mistakes(line: str, told: str, home: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=re.escape(told)):
        parse_training(training_flags(home, tmp_path, "--plan", *line.split()))


# Conversion


def test_there_and_back(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    ours, theirs, again = (tmp_path / name for name in ("ours.pth", "theirs.pth", "again.pth"))
    convert.main([str(home / "theirs.pth"), str(ours), "--output_stride", "16"])
    converted = load_checkpoint(ours)
    assert converted["network"]["output_stride"] == 16 and converted["origin"]["epoch"] == EPOCH
    convert.main([str(ours), str(theirs), "--to", "release"])
    assert "does not tell --arch network.deepv3plus.DeepR18V3PlusD, --output_stride 16;" in capsys.readouterr().out
    first, back = (read_checkpoint(path, "") for path in (home / "theirs.pth", theirs))
    assert back.keys() == first.keys() and list(back["state_dict"]) == list(first["state_dict"])
    assert (back["epoch"], back["mean_iu"]) == (EPOCH, first["mean_iu"])
    equal(back["state_dict"] | {"memory": back["memory"]}, first["state_dict"] | {"memory": first["memory"]})
    convert.main([str(theirs), str(again)])
    equal(load_checkpoint(again)["weights"], converted["weights"])
    assert sorted(tmp_path.iterdir()) == sorted([ours, theirs, again])


def equal(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) and one[key].dtype == other[key].dtype for key in one)


def test_a_run_as_the_release_has_it(home: Path, tmp_path: Path) -> None:
    content = load_checkpoint(home / "ours.pth")
    run = {"iteration": 30_463, "flags": {"bs_mult": 4, "epoch_size": 2975}, "processes": 1}
    torch.save(content | run, tmp_path / "run.pth")
    convert.main([str(tmp_path / "run.pth"), str(tmp_path / "x.pth"), "--to", "release"])
    theirs = read_checkpoint(tmp_path / "x.pth", "")
    assert theirs.keys() == {"state_dict", "optimizer", "scheduler", "epoch", "mean_iu", "memory"}
    assert theirs["epoch"] == EPOCH and all(key.startswith("module.") for key in theirs["state_dict"])
    convert.main([str(tmp_path / "x.pth"), str(tmp_path / "y.pth")])
    back = load_checkpoint(tmp_path / "y.pth")
    equal(back["weights"], content["weights"])
    assert back["network"] | {"output_stride": 32, "wt_layer": None} == content["network"] | {"wt_layer": None}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{home}/absent.pth x.pth", "IN .*absent.pth: no such file"),
        ("{home}/theirs.pth {home}/ours.pth", "OUT .*ours.pth: is there already; .*--force"),
        ("{home}/theirs.pth {home}/theirs.pth --force", "OUT .*: is the file to read"),
        ("{home}/theirs.pth x.pth --to release", "has the format of release already"),
        ("{home}/ours.pth x.pth", "has the format of ours already"),
        ("{home}/ours.pth no/x.pth --to release", "OUT no/x.pth: cannot be written"),
        ("{home}/theirs.pth x.pth --arch DeepR50V3D", "holds a DeepR18V3PlusD"),
    ],
)
def test_conversions_that_cannot_be(
    line: str, told: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=told):
        convert.main(line.format(home=home).split())
    assert not list(tmp_path.iterdir())
    with pytest.raises(SystemExit):
        convert.main(["x.pth"])
