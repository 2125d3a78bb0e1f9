"""Wrong types and values in files that the programs wrote: one line that names file and entry, never a silent run."""

import json
import shutil
from argparse import Namespace
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from test_release_start import training_flags
from test_resume import run_of

import eval as evaluation
import train as training
from engine.options.resuming import flags_to_keep
from engine.options.training_command import parse_training, training_parser
from engine.run_log import rows_until
from network.pretrained import weights_of_file
from support.commands import TRAIN
from tools import compare
from utils.errors import UsageError
from utils.forms import misfit

pytestmark = pytest.mark.usefixtures("thin_resnet")
NAN = float("nan")


@pytest.mark.parametrize(
    ("value", "form", "fault"),
    [
        (3, range(4), ""),
        (True, range(4), "the content is True"),
        (4, range(4), "the content is 4"),
        (1, float, ""),
        (NAN, float, "the content is nan"),
        ("x", (None, int), "the content is 'x'"),
        ({"a": 1}, {"a": int, "b": (..., str)}, ""),
        ({"b": "x"}, {"a": object, "b": str}, "a is missing"),
        ({"a": 1, "c": 1}, {"a": int}, "c is not known"),
        ({0: 1}, {str: object}, "0 is not known"),
        ({"a": {"b": [1, None]}}, {"a": {"b": [int]}}, "a/b/1 is None"),
        ([1], [int] * 2, "the content is list"),
        ({"a": torch.tensor([1, NAN])}, {str: torch.Tensor}, "a holds NaN or infinite numbers"),
        ({"a": torch.tensor([1, NAN])}, {str: object}, ""),
    ],
)
def test_forms(value: Any, form: Any, fault: str) -> None:
    assert misfit(value, form) == fault


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of Pin the Memory of one iteration."""
    out = tmp_path_factory.mktemp("finished")
    training.main(training_flags(data, out, "--mldg", "--memory"))
    return run_of(out)


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize(
    "line",
    [
        *TRAIN.values(),
        "--strict_bdr_cls 5,6 --jointwtborder --rlx_off_iter -1 --no-mem_centred --split_file a b --exp=-x",
    ],
)
def test_stored_flags_are_those_of_the_command_line(line: str) -> None:
    flags = json.loads(json.dumps(parse_training([*line.split(), "--max_iter", "5"]).flags))
    args = training_parser().parse_stored(flags, Path("flags.json"))
    assert flags_to_keep(Namespace(**args)) == flags and isinstance(args["data_root"], Path)


def put(content: Any, place: str, value: Any) -> Any:
    """``content`` with ``value`` at 'a/b/0'; without that entry if ``value`` is ``...``."""
    *parents, last = (int(key) if key.isdigit() else key for key in place.split("/"))
    content = inner = deepcopy(content)
    for key in parents:
        inner = inner[key]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return content


def change_json(path: Path, place: str, value: Any) -> None:
    path.write_text(json.dumps(put(json.loads(path.read_text()), place, value)))


def change_checkpoint(path: Path, place: str, value: Any) -> None:
    torch.save(put(torch.load(path, weights_only=True), place, value), path)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("flags/lr_schedule", "foo", r"argument --lr_schedule: invalid choice: 'foo'"),
        ("flags/momentum", NAN, r"argument --momentum: nan: give a number from 0 to 1"),
        ("flags/momentum", None, r"argument --momentum: None: give a number"),
        ("flags/bs_mult", [], r"argument --bs_mult: : give a whole number"),
        ("flags/crop_size", {}, r"argument --crop_size: {}: give a whole number"),
        ("flags/wt_layer", 5, r"argument --wt_layer: expected 7 arguments"),
        ("flags/wt_layer/3", 9, r"argument --wt_layer: 9: give a whole number from 0 to 5"),
        ("flags/gblur", "yes", r"argument --gblur: ignored explicit argument 'yes'"),
        ("flags/dataset", 7, r"no data set is called 7"),
        ("flags/max_iter", None, r"cannot be used \(flags/max_iter is None\)"),
        ("flags", [], r"cannot be used \(flags is list\)"),
        ("training data", [], r"cannot be used \(training data is list\)"),
    ],
)
def test_flags_of_a_run(place: str, value: Any, message: str, run: Path) -> None:
    change_json(run / "flags.json", place, value)
    source = "" if "dataset" in place else r"flags\.json: "
    with pytest.raises(UsageError, match=f"{source}{message}") as error:
        parse_training(["--resume", str(run), "--max_iter", "2"])
    assert "\n" not in str(error.value)


def test_flags_are_those_of_the_checkpoint(run: Path) -> None:
    change_json(run / "flags.json", "flags/seed", 5)
    with pytest.raises(UsageError, match=r"flags\.json: --seed is 5, but 304 in the checkpoint; put that back"):
        training.main(["--resume", str(run), "--max_iter", "2"])


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("optimizer", None, "optimizer is None"),
        ("optimizer/state", {}, "not the state of a training run"),  # the momentum must not start anew in silence
        ("optimizer/state/0", ..., "not the state of a training run"),
        ("optimizer/state/0/momentum_buffer", torch.tensor(NAN), "optimizer/state/0/momentum_buffer holds NaN"),
        ("optimizer/state/0/momentum_buffer", torch.ones(2), "the momentum of a parameter has another shape"),
        ("optimizer/state/0/momentum_buffer", "x", "optimizer/state/0/momentum_buffer is 'x'"),
        ("iteration", "1", "iteration is '1'"),
        ("best", NAN, "best is nan"),
        ("bad_files", [], "bad_files is list"),
        ("validated", ..., "validated is missing"),
    ],
)
def test_state_of_a_run(place: str, value: Any, message: str, run: Path) -> None:
    change_checkpoint(run / "iteration_0000001.pth", place, value)
    with pytest.raises(UsageError, match=rf"--resume .*iteration_0000001\.pth: .*{message}"):
        training.main(["--resume", str(run), "--max_iter", "2"])
    assert len(list(run.glob("*.pth"))) == 3  # and nothing is written


def test_the_flags_alone_decide_settings_and_learning_rate(run: Path) -> None:
    """Not the copies of them in the checkpoint, which another version of torch may have written."""
    for name, value in {"momentum": NAN, "lr": "x", "fused": True}.items():  # on CUDA the kernel is a fused one
        change_checkpoint(run / "iteration_0000001.pth", f"optimizer/param_groups/0/{name}", value)
    change_checkpoint(run / "iteration_0000001.pth", "scheduler", {})
    options = parse_training(["--resume", str(run)]).optimizer
    training.main(["--resume", str(run), "--max_iter", "2"])
    content = torch.load(run / "last.pth", weights_only=True)
    group = content["optimizer"]["param_groups"][0]
    assert (group["momentum"], group["lr"], group["fused"]) == (0.9, options.rate(2), None) and 0 < options.rate(
        2
    ) < options.rate(1)
    assert content["scheduler"]["last_epoch"] == 2 and content["scheduler"]["_last_lr"] == [options.rate(2)]


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("network", [], "network is list"),
        ("network/arch", 5, "network/arch is 5"),
        ("network/num_classes", "19", "network/num_classes is '19'"),
        ("network/classes/names/3", None, "network/classes/names/3 is None"),
        ("network/wt_layer", [0, 0], "network/wt_layer is list"),
        ("network/memory", "yes", "network/memory is 'yes'"),
        ("network/memory/momentum", NAN, "network/memory/momentum is nan"),
        ("network/of_the_future", 1, "network/of_the_future is not known"),
        ("weights", [], "weights is list"),
        ("weights/classifier.bias", 1.0, "weights/classifier.bias is 1.0"),
        ("flags/dataset", 5, "flags/dataset is 5"),
        ("code", ..., "code is missing"),
    ],
)
def test_network_in_a_checkpoint(place: str, value: Any, message: str, run: Path) -> None:
    change_checkpoint(run / "last.pth", place, value)
    with pytest.raises(UsageError, match=rf"--snapshot .*last\.pth: {message}; give an earlier or another"):
        evaluation.main(["--snapshot", str(run / "last.pth"), "--device", "cpu"])


SCORES = {"mean_iou": 0.5, "mean_iou_frequent": None, "classes": {}, "protocol": {"data_set": "gtav"}}
RESULTS = {"domains": {"gtav": SCORES}, "trained": {"flags": {"dataset": ["gtav"]}}, "snapshot": "last.pth"}


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("domains/gtav/mean_iou", "0.5", "domains/gtav/mean_iou is '0.5'"),
        ("domains/gtav/mean_iou_frequent", ..., "domains/gtav/mean_iou_frequent is missing"),
        ("domains/gtav", None, "domains/gtav is None"),
        ("domains/gtav/protocol", [], "domains/gtav/protocol is list"),
        ("trained/flags/dataset", 5, "trained/flags/dataset is 5"),
        ("trained", ..., "trained is missing"),
    ],
)
def test_results(place: str, value: Any, message: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "results.json").write_text(json.dumps(RESULTS))
    compare.main([f"A={tmp_path}"])
    assert "| gtav | seen | 50.0 |" in capsys.readouterr().out
    change_json(tmp_path / "results.json", place, value)
    with pytest.raises(UsageError, match=rf"results\.json: cannot be used \({message}\); give NAME=DIR"):
        compare.main([f"A={tmp_path}"])


def test_lines_of_others_in_the_log_stay(tmp_path: Path) -> None:
    rows = ['{"kind": "train", "iteration": 1}\n', '{"my": "note"}\n', "5\n", '{"kind": "train", "iteration": 2}\n']
    path = tmp_path / "metrics.jsonl"
    path.write_bytes("".join(rows).encode() + b"\xff\0\n" + b'{"kind": "tr')
    assert list(rows_until(path, 1, 1)) == rows[:3]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"conv1.weight": torch.tensor([NAN])}, "conv1.weight holds NaN or infinite numbers"),
        ({0: torch.zeros(1)}, "0 is not known"),
        ([1], "the content is list"),
        (torch.nn.Linear(1, 1), "it holds torch.nn.modules.linear.Linear, which is more than data"),
    ],
)
def test_backbone_files(content: Any, problem: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(UsageError, match=f"x.pth: not a readable file of weights .{problem}"):
        weights_of_file(str(tmp_path / "x.pth"))
