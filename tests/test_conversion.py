"""Checkpoints of ours and of the authors, translated into one another."""

from pathlib import Path

import pytest
import torch

from checkpoints.release_names import to_release
from checkpoints.run_files import load_checkpoint, read_checkpoint
from network.deeplab import build_network
from support.release_files import EPOCH
from tools import convert
from utils.errors import UsageError


def test_there_and_back(checkpoints: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    ours, theirs, again = (tmp_path / name for name in ("ours.pth", "theirs.pth", "again.pth"))
    convert.main([str(checkpoints / "theirs.pth"), str(ours), "--output_stride", "16"])
    converted = load_checkpoint(ours)
    assert converted["network"]["output_stride"] == 16 and converted["origin"]["epoch"] == EPOCH
    convert.main([str(ours), str(theirs), "--to", "release"])
    assert "does not tell --arch network.deepv3plus.DeepR18V3PlusD, --output_stride 16;" in capsys.readouterr().out
    first, back = (read_checkpoint(path, "") for path in (checkpoints / "theirs.pth", theirs))
    assert back.keys() == first.keys() and list(back["state_dict"]) == list(first["state_dict"])
    assert (back["epoch"], back["mean_iu"]) == (EPOCH, first["mean_iu"])
    equal(back["state_dict"] | {"memory": back["memory"]}, first["state_dict"] | {"memory": first["memory"]})
    convert.main([str(theirs), str(again)])
    equal(load_checkpoint(again)["weights"], converted["weights"])
    assert sorted(tmp_path.iterdir()) == sorted([ours, theirs, again])


def equal(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) and one[key].dtype == other[key].dtype for key in one)


def test_a_run_as_the_release_has_it(checkpoints: Path, tmp_path: Path) -> None:
    content = load_checkpoint(checkpoints / "ours.pth")
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


def test_how_images_were_normalised_is_told_both_ways(
    checkpoints: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """The authors' file does not hold it: it is told when it is lost, and wants its flag."""
    ours, theirs, own, silent = (tmp_path / f"{name}.pth" for name in ("ours", "theirs", "own", "silent"))
    content = load_checkpoint(checkpoints / "ours.pth")
    torch.save(content | {"network": content["network"] | {"image_in": True}}, ours)
    convert.main([str(ours), str(theirs), "--to", "release"])
    assert "does not tell --arch network.deepv3plus.DeepR18V3PlusD, --output_stride 32, --image_in;" in told(capsys)
    convert.main([str(checkpoints / "ours.pth"), str(tmp_path / "x.pth"), "--to", "release"])
    assert "--image_in" not in told(capsys)
    convert.main([str(theirs), str(own), "--image_in"])
    convert.main([str(theirs), str(silent)])
    assert load_checkpoint(own)["network"]["image_in"] is True
    assert "image_in" not in load_checkpoint(silent)["network"]  # eval.py's flag decides


def told(capsys: pytest.CaptureFixture) -> str:
    return capsys.readouterr().out


def test_what_was_assumed_is_warned_of_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """The stem of a MobileNet, other than that of a ResNet, shows no sign of whitening."""
    source, open_, given = (str(tmp_path / f"{name}.pth") for name in ("source", "open", "given"))
    state = build_network("DeepMobileNetV3PlusD", 19).state_dict()
    torch.save({"state_dict": {to_release(key): value for key, value in state.items()}}, source)
    convert.main([source, open_])
    warning = capsys.readouterr().err
    assert warning.startswith(f"warning: {source}: ") and warning.count("\n") == 1
    assert "if it was trained with --wt_layer 1, 2 or 3 its scores are wrong: give it" in warning
    assert load_checkpoint(Path(open_))["origin"]["assumed"] == ["--output_stride 16", "--wt_layer 0 0 0 0 0 0 0"]
    convert.main([source, given, "--output_stride", "16", "--wt_layer", *"0000000"])
    assert capsys.readouterr().err == "" and "assumed" not in load_checkpoint(Path(given))["origin"]


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
    line: str, told: str, checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=told):
        convert.main(line.format(home=checkpoints).split())
    assert not list(tmp_path.iterdir())
    with pytest.raises(SystemExit):
        convert.main(["x.pth"])
