"""Checkpoints of the authors' release: read without running anything, recognised, evaluated, trained on, converted."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from releases import EPOCH, release_file, release_memory, release_state, write_release
from snapshots import write_snapshot
from test_network import KEYS, PLACES
from test_shipped_scripts import EVALUATE, EVALUATION, call

import eval as evaluation
import train as training
from datasets.demo import write_demo
from engine.build import network_from
from engine.plan import plan
from engine.snapshot import as_ours
from engine.train_flags import parse_training
from golden import assert_close, golden_path, load, make_images, net_called
from network.archs import ARCHS
from network.deeplab import DeepLab, build_network
from network.memory import CategoricalMemory
from network.recognition import Recognised, recognise
from tools import compare, convert
from utils.checkpoint import load_checkpoint, load_weights, read_checkpoint
from utils.errors import UsageError
from utils.release_files import parse_release, release_content
from utils.release_names import ITEMS, to_ours, to_release
from utils.unpickling import NumberType, Unreadable, load_safely, number

ROOT = Path(__file__).parent.parent
R18 = "DeepR18V3PlusD"

# Reading


@pytest.mark.parametrize("core", ["core", "_core"])  # as NumPy 1 and 2 write it
@pytest.mark.parametrize("value", [np.float64(0.02565273940081578), np.float32(0.5), np.int64(-3)])
def test_numpy_numbers(value: np.number, core: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({"mean_iu": value, "weight": torch.arange(3)}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(re.sub(rb"numpy\._?core", b"numpy." + core.encode(), path.read_bytes()))
    read = load_safely(path)
    assert read["mean_iu"] == value and type(read["mean_iu"]) in (int, float)
    torch.save({"mean_iu": value}, path)
    assert load_safely(path) == {"mean_iu": value}


def test_numbers_of_the_other_byte_order() -> None:
    kind = NumberType("f8", False, True)
    kind.__setstate__((3, ">", None, None, None, -1, -1, 0))
    assert number(kind, np.array(0.25, dtype=">f8").tobytes()) == 0.25


class Call:
    """What would run when it is read."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


@pytest.mark.parametrize(
    "held",
    [np.array([1.0]), np.dtype("O"), np.array([Call(print)])[0], Call(os.system, "touch marker"), Call(np.load, "x"),
     Call(eval, "1"), Call(np.dtype, "f8", Call(os.system, "touch marker"))],
)  # fmt: skip
@pytest.mark.parametrize("zipped", [True, False])
def test_anything_else_is_refused(held: object, zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {}, "mean_iu": held}, "x.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(Unreadable):
        load_safely(Path("x.pth"))
    assert not Path("marker").exists()


# Recognition


def shapes_of(net: DeepLab) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in net.state_dict().items()}


@pytest.mark.parametrize("name", KEYS)
def test_recognition_by_names_and_shapes(name: str) -> None:
    lines = [line.split("\t") for line in golden_path(f"keys_{name}.txt").read_text().splitlines() if line[0] != "#"]
    shapes = {to_ours(key): torch.Size(map(int, filter(str.isdigit, size.split("x")))) for key, size, _ in lines}
    expected = net_called(name)
    if expected.memory:
        shapes[ITEMS] = torch.Size((19, 256))
    found = recognise(shapes, source=name)
    row = next(row for arch, row in ARCHS.items() if arch.endswith(f".{expected.arch}"))
    assert {(ARCHS[arch].head, ARCHS[arch].backbone) for arch in found.archs} == {(row.head, row.backbone)}
    assert any(arch.endswith(f".{expected.arch}") for arch in found.archs) and "_OS8" not in found.archs[0]
    assert (found.num_classes, found.aux, found.dim) == (19, True, 256)
    assert found.slots == (19 if expected.memory else None) and found.fits(expected.wt_layer)
    assert not found.fits([5] * 7)


def test_every_backbone_is_recognised() -> None:
    rows = {row.backbone: (arch, row) for arch, row in reversed(ARCHS.items())}
    for arch, row in [*rows.values(), ("network.deepv3.DeepR18V3D", ARCHS["network.deepv3.DeepR18V3D"])]:
        with torch.device("meta"):
            net = build_network(arch, 7, memory=CategoricalMemory(9, dim=32), dim=32, aux=False)
        found = recognise(shapes_of(net), source="x")
        alike = tuple(name for name, other in ARCHS.items() if other[:2] == row[:2])
        assert found == Recognised(alike, 7, False, 32, 9, found.norms)
        assert found.wt_layer == [0] * 7


@pytest.mark.parametrize(("arch", "stem", "kind"), PLACES)
def test_norms_that_leave_entries_are_recognised(arch: str, stem: int, kind: int) -> None:
    wt_layer = [kind if place >= 3 - stem else 0 for place in range(7)]
    with torch.device("meta"):
        net = build_network(arch, 5, wt_layer=wt_layer)
    found = recognise({to_ours(to_release(key)): shape for key, shape in shapes_of(net).items()}, source="x")
    assert found.fits(wt_layer) and not found.fits([0 if kind > 3 else 4] * 7)
    if kind > 3:
        assert found.wt_layer == wt_layer


def test_switchable_whitening_by_the_names_of_its_authors() -> None:
    with torch.device("meta"):
        state = build_network(R18, 19, wt_layer=[0, 0, 0, 5, 0, 0, 0]).state_dict()
    theirs = {to_release(key) for key in state}
    added = {key.rpartition(".")[2] for key in theirs if "instance_norm_layer" in key}
    assert added == {"weight", "bias", "sw_mean_weight", "sw_var_weight", "running_mean", "running_cov"}
    assert {to_ours(key) for key in theirs} == state.keys()


# Loading


def understood(path: Path, **flags: object) -> dict:
    return as_ours(read_checkpoint(path, "--snapshot"), path, **flags)


@pytest.mark.parity
@pytest.mark.parametrize("name", ["r18v3p_mem", "r50v3p_mem", "r101v2_mem"])
@torch.no_grad()
def test_logits_of_a_file_of_the_release(name: str, tmp_path: Path) -> None:
    content = understood(write_release(tmp_path / "x.pth", name, mean_iu=np.float64(0.0256)))
    net = network_from(content["network"])
    load_weights(net, content["weights"], tmp_path)
    out = net.eval()(torch.from_numpy(make_images(1234, 2, 193, 257)))
    golden = load(f"a_{name}")
    assert_close(out.logits[:, :, ::8, ::8], golden["logits_sub"], 1e-5, "logits")
    assert_close(out.reading.weights.permute(0, 2, 3, 1), golden["score_memory"], 1e-5, "read weights")
    assert content["origin"] == {"format": "release", "epoch": EPOCH, "mean_iu": 0.0256}


def test_what_is_recognised_and_assumed_is_told_in_one_note(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = write_release(tmp_path / "x.pth", "shuffle_mem", zipped=False)
    stride = understood(path)["network"]["output_stride"]
    (note,) = capsys.readouterr().out.splitlines()
    assert stride is None and "release after epoch 41: DeepShuffleNetV3PlusD, 19 classes, a memory of 19 x 256" in note
    assert note.endswith("assumed: --output_stride 16 --wt_layer 0 0 0 0 0 0 0")
    config = understood(path, arch="network.deepv3plus.DeepShuffleNetV3PlusD_OS32", wt_layer=[0, 0, 2, 2, 2, 0, 0])
    assert (config["network"]["arch"], config["network"]["wt_layer"][2:5]) == (
        "network.deepv3plus.DeepShuffleNetV3PlusD_OS32", [2, 2, 2],
    )  # fmt: skip
    assert understood(path, output_stride=8)["network"]["output_stride"] == 8
    first, second = capsys.readouterr().out.splitlines()
    assert "assumed" not in first and second.endswith("assumed: --wt_layer 0 0 0 0 0 0 0")


@pytest.mark.parametrize("prefix", ["module.", ""])
def test_a_state_dict_alone(prefix: str, tmp_path: Path) -> None:
    state = {prefix + key.removeprefix("module."): value for key, value in release_state("mobile_ibn").items()}
    torch.save(state, tmp_path / "x.pth")
    content = understood(tmp_path / "x.pth")
    assert content["network"]["wt_layer"] == [0, 0, 4, 4, 4, 0, 0] and content["origin"] == {"format": "bare"}
    load_weights(network_from(content["network"]), content["weights"], tmp_path)


def without(key: str) -> Callable[[dict], object]:
    return lambda content: content["state_dict"].pop(key)


def more(**entries: torch.Tensor) -> Callable[[dict], object]:
    return lambda content: content["state_dict"].update(entries)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without("module.layer1.0.conv1.weight"), r"DeepR18V3PlusD, the nearest, .*1 missing \(module.layer1.0.conv1"),
        (more(a=torch.ones(1), b=torch.ones(1)), r"2 unexpected \(a, b\)"),
        (lambda content: content.pop("memory"), r"1 missing \(memory\)"),
        (lambda content: content.update(memory=torch.ones(19, 4)), r"1 of another shape \(memory\)"),
        (lambda content: content.update(state_dict={}), "nor one of the authors' release, without a state_dict"),
        (lambda content: content.update(state_dict={"x": 1}), "without a state_dict of tensors"),
    ],
)
def test_a_file_that_fits_no_network(change: Callable, told: str, tmp_path: Path) -> None:
    content = release_file("r18v3p_mem")
    change(content)
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(UsageError, match=told) as error:
        understood(tmp_path / "x.pth")
    assert "\n" not in str(error.value) and str(tmp_path / "x.pth") in str(error.value)


def test_whitening_in_the_stem_wants_its_flag(tmp_path: Path) -> None:
    path = write_release(tmp_path / "x.pth", "r50v3p_isw")
    with pytest.raises(UsageError, match="give the --wt_layer of its training"):
        understood(path)
    with pytest.raises(UsageError, match=r"--wt_layer 0 0 0 2 2 0 0: .* holds 0 0 1/2/3 0/1/2/3 .*; give these"):
        understood(path, wt_layer=[0, 0, 0, 2, 2, 0, 0])
    content = understood(path, wt_layer=[0, 0, 2, 2, 2, 0, 0])
    load_weights(network_from(content["network"]), content["weights"], path)


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
