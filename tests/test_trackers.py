"""train.py --tracker: a stand-in with the interface of W&B and Trackio gets the rows of the log."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import train as training
from engine.tracker import Tracker
from support.logs import log_rows, repeatable
from support.mistakes import training_mistake
from support.ranks import run_ranks
from utils.processes import rank

TRACKERS = ("wandb", "trackio")


class StandIn(ModuleType):
    """Collects what it is called with; ``failing`` calls raise an error."""

    def __init__(self, *failing: str):
        super().__init__("stand_in")
        self.calls: list[tuple[str, Any]] = []
        self.failing = failing

    def note(self, name: str, what: Any) -> None:
        self.calls.append((name, what))
        if name in self.failing:
            raise ConnectionError("no network.\nadvice")

    def init(self, **settings: Any) -> None:
        self.note("init", settings)

    def log(self, metrics: dict[str, float], step: int) -> None:
        self.note("log", (step, metrics))

    def finish(self) -> None:
        self.note("finish", None)

    def of(self, name: str) -> list[Any]:
        return [what for call, what in self.calls if call == name]


def flags(data: Path, out: Path, *extra: str) -> list[str]:
    line = (
        f"--data_root {data} --exp_root {out} --exp a/b --val_dataset --device cpu --arch DeepR18V3PlusD "
        "--pretrained_backbone none --crop_size 48 --bs_mult 2 --max_iter 3 --val_interval 2 --log_interval 2 "
        "--num_workers 0 --mldg --memory --mem_init_batches 1"
    )
    return [*line.split(), *extra]


def run_of(out: Path) -> Path:
    (run,) = (out / "a" / "b").iterdir()
    return run


def points(run: Path) -> list[tuple[int, dict[str, float]]]:
    """The numbers in ``metrics.jsonl``, named as the curves are."""
    facts = ("kind", "domain", "role")
    rows = []
    for row in log_rows(run):
        curve = "/".join(row[name] for name in facts if name in row)
        values = {f"{curve}/{name}": row[name] for name in row.keys() - {*facts, "iteration"} if row[name] is not None}
        rows.append((row["iteration"], values))
    return rows


@pytest.mark.usefixtures("thin_resnet")
@pytest.mark.parametrize("name", TRACKERS)
def test_the_same_rows_in_one_run(name: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that goes on is the same run there; nothing is sent twice."""
    tracker = StandIn()
    monkeypatch.setitem(sys.modules, name, tracker)
    training.main(flags(data, tmp_path, "--tracker", name))
    run = run_of(tmp_path)
    training.main(["--resume", str(run), "--max_iter", "5"])
    assert tracker.of("log") == points(run) and {step for step, _ in tracker.of("log")} == {1, 2, 3, 4, 5}
    first, second = tracker.of("init")
    assert first["name"] == second["name"] == f"b_{run.name}" and first["resume"] == "allow"
    assert first["config"]["max_iter"] == 3 and first["config"]["tracker"] == name
    assert ("id" in first) == (name == "wandb") and [call for call, _ in tracker.calls].count("finish") == 2
    before = len(tracker.calls)
    training.main(["--resume", str(run), "--max_iter", "6", "--tracker", "none"])
    assert len(tracker.calls) == before


@pytest.mark.usefixtures("thin_resnet")
@pytest.mark.parametrize("failing", ["init", "log", "finish"])
def test_a_failure_ends_the_tracking_only(
    failing: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    tracker = StandIn(failing)
    monkeypatch.setitem(sys.modules, "wandb", tracker)
    training.main(flags(data, tmp_path, "--tracker", "wandb"))
    error = capsys.readouterr().err
    assert error.count("warning: --tracker wandb: no network; the run goes on without it") == 1
    assert len(tracker.of(failing)) == 1 and (len(tracker.of("finish")) == 0) == (failing != "finish")
    training.main(flags(data, tmp_path / "without"))
    assert repeatable(run_of(tmp_path)) == repeatable(run_of(tmp_path / "without"))


@pytest.mark.parametrize("name", TRACKERS)
def test_a_package_that_is_missing(name: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)  # its import fails
    message = training_mistake(f"--tracker {name}", capsys)
    assert message.startswith(f"--tracker {name}: the package {name} cannot be loaded")
    assert message.endswith(f"install it with `pip install {name}`, or drop --tracker")


def test_long_and_odd_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = StandIn()
    monkeypatch.setitem(sys.modules, "wandb", tracker)
    Tracker("wandb", tmp_path / ("é:" + 200 * "x") / "2026-01-01_00-00-00", {})
    Tracker("wandb", tmp_path / "my run #1" / "2026-01-01_00-00-00", {})
    long, odd = (settings["id"] for settings in tracker.of("init"))
    assert len(long) == 128 and long.endswith("x_2026-01-01_00-00-00") and odd == "my_run__1_2026-01-01_00-00-00"


def train_with_tracker(lines: list[str]) -> tuple[int, int]:
    """The rank, and the calls of its tracker."""
    tracker = sys.modules["trackio"] = StandIn()
    training.main(lines)
    return rank(), len(tracker.calls)


def test_only_the_first_process_speaks(data: Path, tmp_path: Path, threads: Callable[[int], None]) -> None:
    (_, calls), (_, none) = run_ranks(train_with_tracker, 2, tmp_path, flags(data, tmp_path, "--tracker", "trackio"))
    assert calls > 5 and none == 0
