"""Checkpoints with NaN or infinite weights: every reader refuses them and names the entry."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from checkpoints.run_files import load_checkpoint, read_checkpoint
from checkpoints.starting import load_start
from engine.evaluating.assessment import evaluate
from engine.options.evaluation_options import parse_evaluation
from tools import convert
from utils.errors import UsageError

Content = dict[str, Any]
Form = tuple[str, Callable[[Content], Content], str, float]
FORMS: dict[str, Form] = {  # the file, the part of it, a weight there, its value
    "ours": ("ours", lambda content: content["weights"], "classifier.bias", float("nan")),
    "our memory": ("ours", lambda content: content["weights"], "memory.items", float("inf")),
    "theirs": ("theirs", lambda content: content["state_dict"], "module.final2.0.bias", -float("inf")),
    "their memory": ("theirs", lambda content: content, "memory", float("nan")),
}


def evaluated(path: Path) -> None:
    evaluate(parse_evaluation(["--snapshot", str(path), "--device", "cpu"]))


def started(path: Path) -> None:
    load_start(nn.Module(), path, {}, arch="", wt_layer=[], image_in=False)  # which come later


def converted(path: Path) -> None:
    convert.main([str(path), str(path.with_name("out.pth"))])


def resumed(path: Path) -> None:
    load_checkpoint(path, "--resume")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("read", [evaluated, started, converted, resumed])
def test_one_weight(read: Callable[[Path], object], form: str, checkpoints: Path, tmp_path: Path) -> None:
    source, part, name, value = FORMS[form]
    content = read_checkpoint(checkpoints / f"{source}.pth", "")
    part(content)[name].view(-1)[-1] = value
    torch.save(content, tmp_path / "x.pth")
    message = f"{re.escape(str(tmp_path))}/x.pth: {name} holds NaN or infinite numbers, .*; give an earlier or another"
    with pytest.raises(UsageError, match=message) as error:
        read(tmp_path / "x.pth")
    assert "\n" not in str(error.value) and list(tmp_path.iterdir()) == [tmp_path / "x.pth"]


def test_a_bare_state_dict(checkpoints: Path, tmp_path: Path) -> None:
    state = read_checkpoint(checkpoints / "theirs.pth", "")["state_dict"]
    torch.save(state | {"module.layer0.0.weight": torch.full((64, 3, 7, 7), torch.inf)}, tmp_path / "x.pth")
    with pytest.raises(UsageError, match=r"x.pth: module.layer0.0.weight holds NaN"):
        read_checkpoint(tmp_path / "x.pth", "--snapshot")


def test_other_numbers_may_be_anything(tmp_path: Path) -> None:
    """Integer weights, numbers beside the weights, and the state of an optimizer."""
    nan = float("nan")
    content = {
        "weights": {"steps": torch.tensor([-(2**63), 2**63 - 1]), "mask": torch.tensor([True]), "x": torch.ones(0)},
        "mean_iu": nan,
        "optimizer": {"state": {0: {"momentum_buffer": torch.tensor([nan])}}},
    }
    torch.save(content, tmp_path / "x.pth")
    assert read_checkpoint(tmp_path / "x.pth", "--snapshot").keys() == content.keys()
