"""``train.py --seeds``: runs of one command that differ in their seeds; their means and paired differences."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch

import train as training
from engine.training.trainer import Trainer
from utils.errors import Interrupted, UsageError

pytestmark = pytest.mark.usefixtures("thin_resnet")


def flags(data: Path, out: Path, *extra: str) -> list[str]:
    line = (
        f"--data_root {data} --exp_root {out} --val_dataset mapillary --mapillary_crop 0 --arch DeepR18V3PlusD "
        "--pretrained_backbone none --crop_size 48 --bs_mult 1 --max_iter 2 --num_workers 0 --val_images 1 "
        "--device cpu --no_check --seed 7"
    )
    return [*line.split(), *extra]


@pytest.fixture(scope="module")
def family(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of three iterations, below the folder ``two``."""
    out = tmp_path_factory.mktemp("family")
    training.main(flags(data, out, "--exp", "two", "--seeds", "2"))
    return out / "two"


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "last.pth", weights_only=True)["weights"]


def test_each_run_is_that_of_its_seed_alone(family: Path, data: Path, tmp_path: Path) -> None:
    first, second = (next((family / f"seed_{seed}").iterdir()) for seed in (7, 8))
    assert json.loads((second / "flags.json").read_text())["flags"]["seed"] == 8
    training.main(flags(data, tmp_path, "--exp", "alone", "--seed", "8"))
    alone, ours = weights(next((tmp_path / "alone").iterdir())), weights(second)
    assert all(torch.equal(alone[name], value) for name, value in ours.items())
    assert any(not torch.equal(ours[name], value) for name, value in weights(first).items())


def test_the_same_command_goes_on(family: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """A finished run is left as it is, one that was stopped goes on, others start."""
    shutil.copytree(family, tmp_path / "two")
    runs = sorted((tmp_path / "two").glob("seed_*/*"))
    before = (runs[0] / "last.pth").stat()
    for run in runs[1:]:  # stopped before its last iteration was validated and the report was written
        (run / "report.html").unlink()
    training.main(flags(data, tmp_path, "--exp", "two", "--seeds", "3"))
    output = capsys.readouterr().out
    assert "run 1 of 3, seed 7: finished" in output and "run 2 of 3, seed 8\n" in output
    assert (runs[0] / "last.pth").stat() == before and (runs[1] / "report.html").is_file()
    assert len(list((tmp_path / "two").glob("*/*/last.pth"))) == 3
    assert f"--runs {runs[0]} {runs[1]}" in output


def test_a_stopped_family_goes_on_by_its_own_command(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Trainer.step

    def stopped(self: Trainer, batch: object) -> None:
        step(self, batch)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Trainer, "step", stopped)
    with pytest.raises(Interrupted, match="after iteration 1 of 2, all is saved; repeat the command to go on"):
        training.main(flags(data, tmp_path, "--exp", "two", "--seeds", "2"))


def test_flags_that_change_the_runs_or_name_another_one(family: Path, data: Path) -> None:
    same = flags(data, family.parent, "--exp", "two", "--seeds", "2")
    with pytest.raises(UsageError, match=r"--lr: the run .* was started with 0.01, not 0.5"):
        training.main([*same, "--lr", "0.5"])
    with pytest.raises(UsageError, match="--seeds: every run goes on by itself; drop --resume"):
        training.main([*same, "--resume", str(family)])
