"""Checkpoints of ours and of the authors, translated into one another."""

from pathlib import Path

import pytest
import torch

from checkpoints.release_format import to_release
from checkpoints.run_files import load_checkpoint, read_checkpoint
from network.deeplab import build_network
from support.release_files import EPOCH
from tools import convert
from utils.errors import UsageError

R18 = "--arch network.deepv3plus.DeepR18V3PlusD"
pytestmark = pytest.mark.usefixtures("thin_resnet")


def check_equal(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) and one[key].dtype == other[key].dtype for key in one)


def test_from_their_file_and_back(checkpoints: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    ours, theirs, again = (tmp_path / name for name in ("ours.pth", "theirs.pth", "again.pth"))
    convert.main([str(checkpoints / "theirs.pth"), str(ours), "--output_stride", "16"])
    converted = load_checkpoint(ours)
    assert converted["network"]["output_stride"] == 16 and converted["origin"]["epoch"] == EPOCH
    convert.main([str(ours), str(theirs), "--to", "release"])
    assert f"lacks {R18}, --output_stride 16 and the optimizer's" in capsys.readouterr().out
    first, back = (read_checkpoint(path, "") for path in (checkpoints / "theirs.pth", theirs))
    assert back.keys() == first.keys() and list(back["state_dict"]) == list(first["state_dict"])
    assert (back["epoch"], back["mean_iu"]) == (EPOCH, first["mean_iu"])
    check_equal(back["state_dict"] | {"memory": back["memory"]}, first["state_dict"] | {"memory": first["memory"]})
    convert.main([str(theirs), str(again)])
    check_equal(load_checkpoint(again)["weights"], converted["weights"])
    assert sorted(tmp_path.iterdir()) == sorted([ours, theirs, again])


def test_from_our_run_and_back(checkpoints: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """A note says that the authors' file does not hold ``image_in``; on the way back the flag does."""
    run, theirs, ours, silent = (tmp_path / f"{name}.pth" for name in ("run", "theirs", "ours", "silent"))
    content = load_checkpoint(checkpoints / "ours.pth")
    content |= {"iteration": 30_463, "flags": {"bs_mult": 4, "epoch_size": 2975}, "processes": 1}
    content["network"]["image_in"] = True
    torch.save(content, run)
    convert.main([str(run), str(theirs), "--to", "release"])
    assert f"lacks {R18}, --output_stride 32, --image_in and the" in capsys.readouterr().out
    release = read_checkpoint(theirs, "")
    assert release.keys() == {"state_dict", "optimizer", "scheduler", "epoch", "mean_iu", "memory"}
    assert release["epoch"] == EPOCH and all(key.startswith("module.") for key in release["state_dict"])
    convert.main([str(theirs), str(ours), "--image_in", "--output_stride", "32"])
    back = load_checkpoint(ours)
    check_equal(back["weights"], content["weights"])
    assert back["network"] == content["network"] | {"wt_layer": [0] * 7}
    convert.main([str(theirs), str(silent)])
    assert "image_in" not in load_checkpoint(silent)["network"]  # eval.py's flag decides


def test_a_stem_that_may_be_whitened(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """The stem of a MobileNet, unlike that of a ResNet, shows no sign of whitening."""
    source, assumed, given = (str(tmp_path / f"{name}.pth") for name in ("source", "assumed", "given"))
    state = build_network("DeepMobileNetV3PlusD", 19).state_dict()
    torch.save({"state_dict": {to_release(key): value for key, value in state.items()}}, source)
    convert.main([source, assumed])
    warning = capsys.readouterr().err
    assert warning.startswith(f"warning: {source}: ") and warning.count("\n") == 1
    assert "if it was trained with --wt_layer 1, 2 or 3 its scores are wrong: give it" in warning
    assert load_checkpoint(Path(assumed))["origin"]["assumed"] == ["--output_stride 16", "--wt_layer 0 0 0 0 0 0 0"]
    convert.main([source, given, "--output_stride", "16", "--wt_layer", *"0000000"])
    assert capsys.readouterr().err == "" and "assumed" not in load_checkpoint(Path(given))["origin"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{home}/absent.pth x.pth", "IN .*absent.pth: no such file"),
        ("{home}/theirs.pth {home}/ours.pth", "OUT .*ours.pth: exists already; .*--force"),
        ("{home}/theirs.pth {home}/theirs.pth --force", "OUT .*: is the file to read"),
        ("{home}/theirs.pth x.pth --to release", "has the format of release already"),
        ("{home}/ours.pth x.pth", "has the format of ours already"),
        ("{home}/ours.pth no/x.pth --to release", "OUT no/x.pth: cannot be written"),
        ("{home}/theirs.pth x.pth --arch DeepR50V3D", "theirs.pth holds a DeepR18V3PlusD; give --arch DeepR18V3PlusD"),
        ("{home}/theirs.pth x.pth --arch DeepR99", "--arch DeepR99: no such network"),
        ("{home}/theirs.pth x.pth --wt_layer 0 0 4 4 4 0 0", "other norms; give e.g. --wt_layer 0 0 0 0 0 0 0"),
    ],
)
def test_conversions_that_are_refused(
    line: str, message: str, checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message):
        convert.main(line.format(home=checkpoints).split())
    assert not list(tmp_path.iterdir())
