"""The frame of the benchmarks."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from benchmarks.frame import Case, Figures, Options, run_benchmark
from benchmarks.step import Step, StepOptions


def test_a_step_is_that_of_train(thin_resnet: None) -> None:
    step = Step("pinmem", StepOptions(device="cpu", arch="DeepR18V3PlusD", crop=48))
    step.work()
    assert step.loaded.images.dtype == torch.uint8 and step.trainer.progress.iteration == 1
    step.floor()


@dataclass(frozen=True)
class CountingOptions(Options):
    cases: tuple[str, ...] = ("up", "also up")


class Counting(Case):
    """Counts its turns."""

    turns = 0

    def work(self) -> None:
        """Nothing takes no memory."""

    def turn(self) -> Figures:
        self.turns += 1
        return {"turn": self.turns, "constant": 1.23456}


def test_the_frame_takes_medians_and_peaks_and_writes_all_turns(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["counting", "--repeats", "3", "--json", str(tmp_path / "figures.json")])
    run_benchmark("counting", "Counts.", CountingOptions, Counting)
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert head == "| case | turn | constant | peak GB |"
    assert [row[: row.index("1.235")] for row in rows] == ["| up | 3 | ", "| also up | 3 | "]  # turn 1 is the warm-up
    written = json.loads((tmp_path / "figures.json").read_text())
    assert [turn["turn"] for turn in written["turns"]["up"]] == [2, 3, 4]
    assert written["medians"]["up"]["peak GB"] > 0
    assert written["options"]["repeats"] == 3 and written["machine"]["torch"]
