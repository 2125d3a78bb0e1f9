"""``eval.py`` with checkpoints of the authors' release."""

import json
from pathlib import Path

import pytest
import torch

import eval as evaluation
from checkpoints.release_format import release_content
from network.deeplab import build_network
from support.release_files import EPOCH
from tools import compare
from utils.errors import UsageError

R18 = "network.deepv3plus.DeepR18V3PlusD"
pytestmark = pytest.mark.usefixtures("thin_resnet")


def results(snapshot: Path, data: Path, out: Path, *flags: str) -> dict:
    line = f"--data_root {data} --device cpu --num_workers 0 --mapillary_crop 64 --dataset gtav mapillary"
    evaluation.main([*line.split(), "--snapshot", str(snapshot), "--out", str(out), *flags])
    return json.loads((out / "results.json").read_text())


def test_their_file_scores_like_ours_with_the_same_weights(
    checkpoints: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    stride = ("--output_stride", "16")
    theirs = results(checkpoints / "theirs.pth", data, tmp_path / "a", "--arch", R18, "--memory", *stride)
    out = capsys.readouterr().out
    assert out.count("note:") == 1 and "mean mIoU of 2 domains" in out
    assert theirs["domains"] == results(checkpoints / "ours.pth", data, tmp_path / "b", *stride)["domains"]
    trained = theirs["trained"]
    assert trained["origin"] == {"format": "release", "epoch": EPOCH, "mean_iu": 0.02565273940081578}
    assert (trained["iteration"], trained["flags"], trained["code"]) == (None, {}, None)
    assert (trained["network"]["arch"], trained["network"]["output_stride"]) == (R18, 16)
    compare.main([f"theirs={tmp_path}/a", f"ours={tmp_path}/b"])
    assert "| gtav | not known |" in capsys.readouterr().out


def test_other_numbers_of_classes_have_no_tables(data: Path, tmp_path: Path) -> None:
    torch.save(release_content(build_network(R18, 7).state_dict()), tmp_path / "x.pth")
    with pytest.raises(UsageError, match=r"x.pth: .* 7 classes.* 19 only"):
        results(tmp_path / "x.pth", data, tmp_path / "out")
