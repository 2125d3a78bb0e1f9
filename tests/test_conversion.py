"""Checkpoints of ours and of the authors, translated into one another."""

from pathlib import Path

import pytest
import torch

from checkpoints.run_files import load_checkpoint, read_checkpoint
from network import deeplab
from support.release_files import EPOCH
from tools import convert
from utils.errors import UsageError

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
    assert "--arch network.deepv3plus.DeepR18V3PlusD" in capsys.readouterr().out
    first, back = (read_checkpoint(path, "") for path in (checkpoints / "theirs.pth", theirs))
    assert back.keys() == first.keys() and list(back["state_dict"]) == list(first["state_dict"])
    assert (back["epoch"], back["mean_iu"]) == (EPOCH, first["mean_iu"])
    check_equal(back["state_dict"] | {"memory": back["memory"]}, first["state_dict"] | {"memory": first["memory"]})
    convert.main([str(theirs), str(again)])
    check_equal(load_checkpoint(again)["weights"], converted["weights"])
    assert sorted(tmp_path.iterdir()) == sorted([ours, theirs, again])


def test_from_our_run_and_back(checkpoints: Path, tmp_path: Path) -> None:
    """The authors' file does not hold ``image_in``; on the way back the flag does."""
    run, theirs, ours = (tmp_path / f"{name}.pth" for name in ("run", "theirs", "ours"))
    content = load_checkpoint(checkpoints / "ours.pth")
    content["network"]["image_in"] = True
    torch.save(content, run)
    convert.main([str(run), str(theirs), "--to", "release"])
    release = read_checkpoint(theirs, "")
    assert release.keys() == {"state_dict", "optimizer", "scheduler", "epoch", "mean_iu", "memory"}
    assert all(key.startswith("module.") for key in release["state_dict"])
    convert.main([str(theirs), str(ours), "--image_in", "--output_stride", "32"])
    back = load_checkpoint(ours)
    check_equal(back["weights"], content["weights"])
    seen = {"wt_layer": [0] * 7, "decoder_dim": deeplab.WIDTH}  # in the entries
    assert back["network"] == content["network"] | seen


def test_what_the_authors_code_cannot_compute(checkpoints: Path, tmp_path: Path) -> None:
    content = load_checkpoint(checkpoints / "ours.pth")
    content["network"]["memory"]["centred"] = True
    torch.save(content, tmp_path / "run.pth")
    with pytest.raises(UsageError, match=r"run.pth: the authors' code has no --mem_centred; choose --to ours or --to"):
        convert.main([str(tmp_path / "run.pth"), str(tmp_path / "x.pth"), "--to", "release"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{home}/absent.pth x.pth", "IN .*absent.pth: no such file"),
        ("{home}/theirs.pth {home}/ours.pth", "OUT .*ours.pth: exists already; .*--force"),
        ("{home}/theirs.pth x.pth --to release", "has the format of release already"),
        ("{home}/ours.pth x.pth", "has the format of ours already"),
        ("{home}/ours.pth no/x.pth --to release", "OUT no/x.pth: cannot be written"),
        ("{home}/theirs.pth x.pth --arch DeepR50V3D", "theirs.pth: another network .*: there DeepR18V3PlusD"),
    ],
)
def test_conversions_that_are_refused(
    line: str, message: str, checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message):
        convert.main(line.format(home=checkpoints).split())
    assert not list(tmp_path.iterdir())
