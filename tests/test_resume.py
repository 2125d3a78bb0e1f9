"""A run that a signal, a kill or a full disk stopped goes on as if it had not stopped."""

import json
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
from engine.options.resuming import refuse_changes
from engine.options.training_command import parse_training, training_parser
from engine.training import trainer as loop
from engine.training.interruption import Interruption
from engine.training.trainer import Trainer
from methods.pinmem import PinMem
from support.disks import largest_file
from support.holders import held
from support.logs import log_rows, repeatable
from support.ranks import run_ranks
from utils import distributed
from utils.errors import Interrupted, UsageError
from utils.processes import rank
from utils.program import run_program

pytestmark = pytest.mark.usefixtures("thin_resnet")

SLOW_TRAINING = Path(__file__).parent / "support" / "slow_training.py"
ITERATIONS = 8


def flags(data: Path, out: Path, *extra: str) -> list[str]:
    """Pin the Memory with Gumbel noise and dropout, small."""
    line = (
        f"--data_root {data} --exp_root {out} --exp run --val_dataset mapillary --mapillary_crop 0 --device cpu "
        f"--arch DeepR18V3PlusD --pretrained_backbone none --crop_size 48 --bs_mult 2 --max_iter {ITERATIONS} "
        "--val_interval 4 --log_interval 3 --save_interval 3 --num_workers 2 --mem_init_batches 2 --color_aug 0.5 "
        "--mldg --memory --inner_lr_anneal --logit_adjust 0.5"
    )
    return [*line.split(), *extra]


@pytest.mark.parametrize(("owner", "part"), [(loop, "write_first_memory"), (PinMem, "step")])
def test_an_error_ends_the_loading_processes(
    owner: Any, part: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the end of the program would wait for them for ever."""

    def fail(_: object, batches: Any) -> None:
        if part == "write_first_memory":
            next(iter(batches))
        raise RuntimeError("boom")

    monkeypatch.setattr(owner, part, fail)
    with pytest.raises(RuntimeError, match="boom") as error:
        training.main(flags(data, tmp_path))
    assert not active_children() and error.tb  # the traceback still refers to the loaders


def run_of(out: Path) -> Path:
    (run,) = (out / "run").iterdir()
    return run


@pytest.fixture(scope="module")
def uninterrupted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("uninterrupted")
    training.main(flags(data, out))
    return run_of(out)


def tensors(entry: object, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """All tensors in a checkpoint, with their paths in it."""
    if isinstance(entry, torch.Tensor):
        yield name, entry
    pairs = entry.items() if isinstance(entry, dict) else enumerate(entry) if isinstance(entry, list | tuple) else ()
    for key, value in pairs:
        yield from tensors(value, f"{name}/{key}")


def check_equal(run: Path, expected: Path) -> None:
    for name in ("last.pth", "best.pth"):
        ours, theirs = (torch.load(folder / name, weights_only=True) for folder in (run, expected))
        values, wanted = dict(tensors(ours)), dict(tensors(theirs))
        assert values.keys() == wanted.keys() and len(wanted) > 200
        assert [key for key, value in wanted.items() if not torch.equal(values[key], value)] == []
        for key in ("iteration", "validation", "validated", "best", "best_iteration", "scheduler"):
            assert ours[key] == theirs[key]
    assert repeatable(run) == repeatable(expected)
    assert curves(run) == curves(expected)
    assert not list(run.glob("*.partial"))


def curves(run: Path) -> list[tuple[str, int, float]]:
    """The scalars that TensorBoard shows, without the times; a later event file replaces what it repeats."""
    scalars: list[tuple[str, int, float]] = []
    for path in sorted((run / "tensorboard").iterdir(), key=lambda path: path.stat().st_mtime):
        content, place = path.read_bytes(), 0
        while place + 12 <= len(content):
            size = int.from_bytes(content[place : place + 8], "little")
            event = Event.FromString(content[place + 12 : place + 12 + size])
            place += 16 + size
            if event.session_log.status == SessionLog.START:
                scalars = [scalar for scalar in scalars if scalar[1] < event.step]
            values = [value for value in event.summary.value if value.HasField("simple_value")]
            scalars += [(value.tag, event.step, value.simple_value) for value in values]
    return sorted(scalar for scalar in scalars if not scalar[0].startswith("pace/"))


@pytest.mark.parametrize(("moment", "number"), [(1, signal.SIGTERM), (4, signal.SIGHUP)])  # before a validation
def test_a_signal_saves_and_the_run_goes_on(
    moment: int, number: int, data: Path, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Trainer.step

    def interrupted_step(trainer: Trainer, batch: object) -> None:
        step(trainer, batch)
        if trainer.progress.iteration == moment:
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", interrupted_step)
        with pytest.raises(Interrupted, match=f"after iteration {moment} of {ITERATIONS}.*--resume") as end:
            training.main(flags(data, tmp_path))
    assert end.value.code == 128 + number
    assert signal.getsignal(number) == signal.SIG_DFL
    run = run_of(tmp_path)
    assert numbered(run)[-1].name == f"iteration_{moment:07d}.pth"
    training.main(["--resume", str(run), "--num_workers", "0"])
    check_equal(run, uninterrupted)


def test_under_nohup_a_closed_terminal_does_not_matter() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Interruption() as interruption:
        os.kill(os.getpid(), signal.SIGHUP)
    assert interruption.number == 0 and signal.signal(signal.SIGHUP, before) == signal.SIG_IGN


def start(data: Path, out: Path) -> subprocess.Popen:
    command = [sys.executable, str(SLOW_TRAINING), *flags(data, out, "--resume", "auto")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def killed(process: subprocess.Popen, out: Path, moment: float | None) -> list[Path]:
    """Kill after ``moment`` seconds of training, or while a checkpoint is written; return half-written files."""
    while process.poll() is None and not list(out.glob("run/*/tensorboard")):
        time.sleep(0.01)
    begun = time.monotonic()
    while process.poll() is None:
        if moment is None and list(out.glob("run/*/*.partial")):
            break
        if moment is not None and time.monotonic() > begun + moment:
            break
        time.sleep(0.001)
    process.kill()
    process.communicate()
    return list(out.glob("run/*/*.partial"))


@pytest.mark.parametrize("kills", [0, pytest.param(3, marks=pytest.mark.slow)])
def test_kill_while_saving_and_at_any_moment(kills: int, data: Path, uninterrupted: Path, tmp_path: Path) -> None:
    moments = [random.SystemRandom().uniform(0, 8) for _ in range(kills)]
    assert killed(start(data, tmp_path), tmp_path, None), "no checkpoint was being written"
    for moment in moments:
        killed(start(data, tmp_path), tmp_path, moment)
    process = start(data, tmp_path)
    output, errors = process.communicate()
    assert process.returncode == 0 and "done" in output, errors
    training.main(flags(data, tmp_path, "--resume", "auto"))  # nothing is left to do
    run = sorted((tmp_path / "run").iterdir())[-1]  # earlier ones were killed before their first checkpoint
    check_equal(run, uninterrupted)


def test_a_full_disk_leaves_what_was_saved(
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
    ("change", "message"),
    [
        ("--lr 0.5", "--lr: the run .* was started with 0.01, not 0.5"),
        ("--dataset gtav", "--dataset: the run"),
        ("--recipe published", "--recipe: the run"),
        ("--method mldg", "--method: the run .* was started with pinmem, not mldg"),
        ("--max_iter 5", "--max_iter 5: the run has done 8 iterations already"),
    ],
)
def test_a_run_that_goes_on_keeps_its_flags(change: str, message: str, uninterrupted: Path) -> None:
    with pytest.raises(UsageError, match=message):
        training.main(["--resume", str(uninterrupted), *change.split()])


def test_also_flags_that_its_version_did_not_have() -> None:
    usual = parse_training([]).flags
    older = {name: value for name, value in usual.items() if name != "class_uniform_pct"}
    before = training_parser().parse_stored(older, Path("flags.json"))
    before["checkpoint"] = Path("run/iteration_0000001.pth")
    refuse_changes(usual, before)
    with pytest.raises(UsageError, match="--class_uniform_pct: the run run was started with"):
        refuse_changes({**usual, "class_uniform_pct": 0.5}, before)


def test_a_run_of_an_older_version_goes_on(uninterrupted: Path, tmp_path: Path) -> None:
    """It has no flag ``--method``, and not all other flags either."""
    run = tmp_path / "run"
    shutil.copytree(uninterrupted, run)
    content = json.loads((run / "flags.json").read_text())
    for name in ("method", "covstat_val_dataset", "class_uniform_pct", "skip_bad"):
        del content["flags"][name]
    (run / "flags.json").write_text(json.dumps(content))
    training.main(["--resume", str(run), "--max_iter", str(ITERATIONS + 1)])
    assert torch.load(run / "last.pth", weights_only=True)["iteration"] == ITERATIONS + 1
    assert parse_training(["--resume", str(run), "--max_iter", "20"]).method_name == "pinmem"
    del content["flags"]["logit_adjust"]
    content["flags"]["recipe"] = "tuned"
    (run / "flags.json").write_text(json.dumps(content))
    assert parse_training(["--resume", str(run), "--max_iter", "20"]).segmentation.logit_adjust == 0


def test_what_resume_may_name(uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for name in ("", "last.pth", "iteration_0000008.pth"):
        training.main(["--resume", str(uninterrupted / name), "--plan"])
        assert "continues   from" in capsys.readouterr().out
    with pytest.raises(UsageError, match=r"already at iteration_0000008\.pth"):
        training.main(["--resume", str(uninterrupted / "iteration_0000006.pth"), "--plan"])
    with pytest.raises(UsageError, match="no checkpoint there"):
        training.main(["--resume", str(tmp_path)])
    with pytest.raises(UsageError, match="no checkpoint there"):
        training.main(["--resume", str(tmp_path / "absent.pth")])


def test_a_copy_is_not_the_newest_run(uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for name in ("2026-01-31_02-00-00", "2026-01-31_02-00-00_2", "2026-01-31_02-00-00_2_copy", "old"):
        shutil.copytree(uninterrupted, tmp_path / "run" / name)
    training.main(["--exp_root", str(tmp_path), "--exp", "run", "--resume", "auto", "--plan"])
    assert f"{tmp_path}/run/2026-01-31_02-00-00_2/iteration_0000008.pth" in capsys.readouterr().out


def test_a_run_that_still_writes_is_refused(uninterrupted: Path) -> None:
    """A cluster may start a job again before it has ended."""
    with held(uninterrupted), pytest.raises(UsageError, match="held by another program"):
        training.main(["--resume", str(uninterrupted), "--num_workers", "0"])


def test_other_images_are_refused(root: Path, uninterrupted: Path) -> None:
    image = min((root / "GTAV/images/train").rglob("*.png"))
    for path in (image, Path(str(image).replace("/images/", "/labels/"))):
        shutil.copy(path, path.with_name("zz.png"))
    with pytest.raises(UsageError, match="other images of gtav"):
        training.main(["--resume", str(uninterrupted), "--data_root", str(root)])


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


def test_a_run_with_a_poly_schedule_cannot_become_longer() -> None:
    before, now = (parse_training(["--lr_schedule", "poly", "--max_iter", number]).flags for number in ("2", "4"))
    before = {**before, "checkpoint": Path("run/iteration_0000001.pth")}
    with pytest.raises(UsageError, match="--max_iter 4: under --lr_schedule poly the learning rate of this run is 0"):
        refuse_changes(now, before)


def test_processes_compare_where_a_run_goes_on(tmp_path: Path) -> None:
    assert run_ranks(agreements, 2, tmp_path) == [(True, False)] * 2


def agreements() -> tuple[bool, bool]:
    return distributed.agreed(7), distributed.agreed(rank())
