"""Checkpoints with NaN or infinite weights: every reader refuses them and names the entry."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from checkpoints.adoption import as_ours, load_start
from checkpoints.run_files import read_checkpoint
from engine.evaluating.assessment import evaluate
from engine.options.evaluation_options import parse_evaluation
from tools import convert
from utils.errors import UsageError

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("file", "part", "name", "value"),
    [
        ("ours", "weights", "classifier.bias", NAN),
        ("ours", "weights", "memory.items", INF),
        ("theirs", "state_dict", "module.final2.0.bias", -INF),
        ("theirs", None, "memory", NAN),
        ("bare", None, "module.layer0.0.weight", INF),
    ],
)
def test_every_format(file: str, part: str | None, name: str, value: float, checkpoints: Path, tmp_path: Path) -> None:
    content = read_checkpoint(checkpoints / f"{'ours' if file == 'ours' else 'theirs'}.pth", "")
    content = content["state_dict"] if file == "bare" else content
    (content[part] if part else content)[name].view(-1)[-1] = value
    torch.save(content, tmp_path / "x.pth")
    place = f"weights/{name}" if file == "ours" else name
    with pytest.raises(UsageError, match=rf"x\.pth: .*{re.escape(place)} holds NaN or infinite numbers") as error:
        as_ours(read_checkpoint(tmp_path / "x.pth", "--snapshot"), tmp_path / "x.pth")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "read",
    [
        lambda path: evaluate(parse_evaluation(["--snapshot", str(path), "--device", "cpu"])),
        lambda path: load_start(nn.Module(), path, {"wt_layer": None}),
        lambda path: convert.main([str(path), str(path.with_name("out.pth"))]),
    ],
)
def test_every_reader(read: Callable[[Path], object], tmp_path: Path) -> None:
    torch.save({"state_dict": {"x": torch.tensor(NAN)}}, tmp_path / "x.pth")
    with pytest.raises(UsageError, match=r"x.pth: .*x holds NaN"):
        read(tmp_path / "x.pth")
    assert list(tmp_path.iterdir()) == [tmp_path / "x.pth"]


def test_other_numbers_may_be_anything(tmp_path: Path) -> None:
    """Integer weights, numbers beside the weights, and the state of an optimizer."""
    content = {
        "weights": {"steps": torch.tensor([-(2**63), 2**63 - 1]), "mask": torch.tensor([True]), "x": torch.ones(0)},
        "mean_iu": NAN,
        "optimizer": {"state": {0: {"momentum_buffer": torch.tensor([NAN])}}},
    }
    torch.save(content, tmp_path / "x.pth")
    assert read_checkpoint(tmp_path / "x.pth", "--snapshot").keys() == content.keys()
