"""Runs that were stopped go on as if nothing had been: by a signal, by a kill at any moment, by a full disk."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboardX.proto.event_pb2 import Event, SessionLog

import train as training
from checkpoints.run_files import numbered
from engine.program import run_program
from engine.training.interruption import Interrupted
from engine.training.trainer import Trainer
from methods.pinmem import PinMem
from support.disks import largest_file
from support.logs import log_rows, repeatable
from support.ranks import run_ranks
from utils import distributed
from utils.errors import UsageError
from utils.processes import rank

pytestmark = pytest.mark.usefixtures("thin_resnet")

SLOW_TRAINING = Path(__file__).parent / "support" / "slow_training.py"
ITERATIONS = 8


def flags(data: Path, out: Path, *extra: str) -> list[str]:
    """Pin the Memory with Gumbel noise and dropout, small."""
    line = (
        f"--data_root {data} --exp_root {out} --exp run --val_dataset mapillary --mapillary_crop 0 --device cpu "
        f"--arch DeepR18V3PlusD --pretrained_backbone none --crop_size 48 --bs_mult 2 --max_iter {ITERATIONS} "
        "--val_interval 4 --log_interval 3 --save_interval 3 --num_workers 2 --mem_init_batches 2 --color_aug 0.5 "
        "--mldg --memory --inner_lr_anneal"
    )
    return [*line.split(), *extra]


@pytest.mark.parametrize("part", ["initialise_memory", "step"])
def test_an_error_lets_the_loading_processes_go(
    part: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the end of the program would wait for them for ever."""

    def fail(self: PinMem, batches: Any) -> None:
        if part == "initialise_memory":
            next(iter(batches))
        raise RuntimeError("boom")

    monkeypatch.setattr(PinMem, part, fail)
    with pytest.raises(RuntimeError, match="boom") as error:
        training.main(flags(data, tmp_path))
    assert not active_children() and error.tb  # which would keep them


def run_of(out: Path) -> Path:
    (run,) = (out / "run").iterdir()
    return run


@pytest.fixture(scope="module")
def uninterrupted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("uninterrupted")
    training.main(flags(data, out))
    return run_of(out)


def tensors(entry: object, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """All tensors in a checkpoint with the way to them."""
    if isinstance(entry, torch.Tensor):
        yield name, entry
    pairs = entry.items() if isinstance(entry, dict) else enumerate(entry) if isinstance(entry, list | tuple) else ()
    for key, value in pairs:
        yield from tensors(value, f"{name}/{key}")


def check_equal(run: Path, expected: Path) -> None:
    for name in ("last.pth", "best.pth"):
        ours, theirs = (torch.load(folder / name, weights_only=True) for folder in (run, expected))
        found, wanted = dict(tensors(ours)), dict(tensors(theirs))
        assert found.keys() == wanted.keys() and len(wanted) > 200
        assert [key for key, value in wanted.items() if not torch.equal(found[key], value)] == []
        for key in ("iteration", "validation", "validated", "best", "best_iteration", "scheduler"):
            assert ours[key] == theirs[key]
    assert repeatable(run) == repeatable(expected)
    assert curves(run) == curves(expected)
    assert not list(run.glob("*.partial"))


def curves(run: Path) -> list[tuple[str, int, float]]:
    """The scalars that TensorBoard shows, without those of time: of all event files, less what later ones take back."""
    found: list[tuple[str, int, float]] = []
    for path in sorted((run / "tensorboard").iterdir(), key=lambda path: path.stat().st_mtime):
        content, place = path.read_bytes(), 0
        while place + 12 <= len(content):
            size = int.from_bytes(content[place : place + 8], "little")
            event = Event.FromString(content[place + 12 : place + 12 + size])
            place += 16 + size
            if event.session_log.status == SessionLog.START:
                found = [row for row in found if row[1] < event.step]
            values = [value for value in event.summary.value if value.HasField("simple_value")]
            found += [(value.tag, event.step, value.simple_value) for value in values]
    return sorted(row for row in found if not row[0].startswith("pace/"))


@pytest.mark.parametrize("moment", [1, 4])  # in the middle of nothing, and where a validation is due
def test_a_signal_saves_and_the_run_goes_on(
    moment: int, data: Path, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Trainer.step

    def interrupted_step(trainer: Trainer, batch: object) -> None:
        step(trainer, batch)
        if trainer.progress.iteration == moment:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", interrupted_step)
        with pytest.raises(Interrupted, match=f"after iteration {moment} of {ITERATIONS}.*--resume") as end:
            training.main(flags(data, tmp_path))
    assert end.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    run = run_of(tmp_path)
    assert numbered(run)[-1].name == f"iteration_{moment:07d}.pth"
    training.main(["--resume", str(run), "--num_workers", "0"])
    check_equal(run, uninterrupted)


def start(data: Path, out: Path) -> subprocess.Popen:
    command = [sys.executable, str(SLOW_TRAINING), *flags(data, out, "--resume", "auto")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def killed(process: subprocess.Popen, out: Path, moment: float | None) -> list[Path]:
    """SIGKILL after ``moment`` seconds of training, or while a checkpoint is written; what was half written then."""
    while process.poll() is None and not list(out.glob("run/*/tensorboard")):
        time.sleep(0.01)
    begun = time.monotonic()
    while process.poll() is None:
        if moment is None and list(out.glob("run/*/iteration_*.partial")):
            break
        if moment is not None and time.monotonic() > begun + moment:
            break
        time.sleep(0.001)
    process.kill()
    process.communicate()
    return list(out.glob("run/*/iteration_*.partial"))


@pytest.mark.parametrize("kills", [0, pytest.param(3, marks=pytest.mark.slow)])
def test_kill_while_saving_and_at_any_moment(kills: int, data: Path, uninterrupted: Path, tmp_path: Path) -> None:
    moments = [random.SystemRandom().uniform(0, 8) for _ in range(kills)]
    assert killed(start(data, tmp_path), tmp_path, None), "no checkpoint was being written"
    for moment in moments:
        killed(start(data, tmp_path), tmp_path, moment)
    process = start(data, tmp_path)
    told, complaint = process.communicate()
    assert process.returncode == 0 and "done" in told, complaint
    training.main(flags(data, tmp_path, "--resume", "auto"))  # nothing is left to do
    run = sorted((tmp_path / "run").iterdir())[-1]  # those that were killed before their first checkpoint came before
    check_equal(run, uninterrupted)


def test_a_full_disk_is_told_and_leaves_what_was_saved(
    data: Path, uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = tmp_path / "run" / "now"
    shutil.copytree(uninterrupted, run)
    before = {path.name: path.stat().st_size for path in run.glob("*.pth")}
    line = ["--resume", str(run), "--max_iter", "9", "--num_workers", "0"]
    with largest_file(10**6), pytest.raises(SystemExit) as end:
        run_program("train.py", lambda: training.main(line))
    assert end.value.code == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert "cannot be written" in error and f"--resume {run}" in error
    assert {path.name: path.stat().st_size for path in run.glob("*.pth")} == before and not list(run.glob("*.partial"))
    for name in before:
        torch.load(run / name, weights_only=True)


def test_the_newest_checkpoints_stay(uninterrupted: Path) -> None:
    assert [path.name for path in numbered(uninterrupted)] == ["iteration_0000006.pth", "iteration_0000008.pth"]
    assert (uninterrupted / "last.pth").samefile(uninterrupted / "iteration_0000008.pth")
    assert [row["iteration"] for row in log_rows(uninterrupted) if row["kind"] == "train"] == list(
        range(1, ITERATIONS + 1)
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (["--lr", "0.5"], "--lr: the run .* was started with 0.01, not 0.5"),
        (["--dataset", "gtav"], "--dataset: the run"),
        (["--recipe", "published"], "--recipe: the run"),
        (["--max_iter", "5"], "--max_iter 5: the run has done 8 iterations already"),
    ],
)
def test_a_run_that_goes_on_keeps_its_flags(change: list[str], told: str, uninterrupted: Path) -> None:
    with pytest.raises(UsageError, match=told):
        training.main(["--resume", str(uninterrupted), *change])


def test_what_resume_may_name(uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for name in ("", "last.pth", "iteration_0000008.pth"):
        training.main(["--resume", str(uninterrupted / name), "--plan"])
        assert "goes on     from" in capsys.readouterr().out
    with pytest.raises(UsageError, match=r"already at iteration_0000008\.pth"):
        training.main(["--resume", str(uninterrupted / "iteration_0000006.pth"), "--plan"])
    with pytest.raises(UsageError, match="no checkpoint there"):
        training.main(["--resume", str(tmp_path)])
    with pytest.raises(UsageError, match="no checkpoint there"):
        training.main(["--resume", str(tmp_path / "absent.pth")])


def test_other_images_are_not_the_same_run(data: Path, uninterrupted: Path) -> None:
    extra = sorted((data / "GTAV/images/train").rglob("*.png"))[0]
    label = Path(str(extra).replace("images", "labels"))
    copies = [path.with_name("zz.png") for path in (extra, label)]
    for path, copy in zip((extra, label), copies, strict=True):
        copy.write_bytes(path.read_bytes())
    try:
        with pytest.raises(UsageError, match="other images of gtav"):
            training.main(["--resume", str(uninterrupted)])
    finally:
        for copy in copies:
            copy.unlink()


def test_the_best_is_published_again_after_a_kill_in_between(data: Path, uninterrupted: Path, tmp_path: Path) -> None:
    run = tmp_path / "run" / "now"
    shutil.copytree(uninterrupted, run)
    (run / "last.pth").unlink()
    (run / "best.pth").unlink()
    content = torch.load(run / "iteration_0000008.pth", weights_only=True)
    torch.save(content | {"best_iteration": 8}, run / "iteration_0000008.pth")
    training.main(["--resume", str(run)])
    for name in ("best.pth", "last.pth"):
        assert (run / name).samefile(run / "iteration_0000008.pth")


def test_poly_ends_where_it_was_to_end(data: Path, tmp_path: Path) -> None:
    training.main(flags(data, tmp_path, "--max_iter", "2", "--lr_schedule", "poly"))
    with pytest.raises(UsageError, match="--max_iter 4: under --lr_schedule poly the learning rate of this run is 0"):
        training.main(["--resume", str(run_of(tmp_path)), "--max_iter", "4"])


def test_processes_agree_where_a_run_goes_on(tmp_path: Path) -> None:
    assert run_ranks(agreements, 2, tmp_path) == [(True, False)] * 2


def agreements() -> tuple[bool, bool]:
    return distributed.agreed(7), distributed.agreed(rank())
