"""The frame of the benchmarks, and that the phases of a step name functions that methods have."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.frame import Case, Options, Rows, run_benchmark, table
from benchmarks.step import PHASES
from methods import METHODS


@dataclass(frozen=True)
class CountingOptions(Options):
    cases: tuple[str, ...] = ("up",)


class Counting(Case):
    """Counts its turns."""

    peak_runs = 1

    def __init__(self, name: str, options: CountingOptions) -> None:
        super().__init__(name, options)
        self.turns = 0

    def turn(self) -> Rows:
        self.turns += 1
        return {self.name: {"turn": self.turns}}

    def work(self) -> None:
        """Nothing takes no memory."""


def test_the_frame_takes_medians_and_peaks_and_writes_all_turns(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["counting", "--repeats", "3", "--json", str(tmp_path / "figures.json")])
    run_benchmark("counting", "Counts.", CountingOptions, Counting)
    head, _, row = capsys.readouterr().out.splitlines()
    assert head == "| method | turn | peak GB |"
    assert row.startswith("| up | 3 | ")  # the first turn is the warm-up
    written = json.loads((tmp_path / "figures.json").read_text())
    assert [turn["up"]["turn"] for turn in written["turns"]["up"]] == [2, 3, 4]
    assert written["options"]["repeats"] == 3 and written["machine"]["torch"]


def test_a_table_has_the_columns_of_all_rows() -> None:
    lines = table("case", {"a": {"x": 1.23456, "y": 20}, "b": {"y": 0.5, "z": 1}}).splitlines()
    assert lines == ["| case | x | y | z |", "| --- | --- | --- | --- |", "| a | 1.235 | 20 |  |", "| b |  | 0.5 | 1 |"]


def test_every_phase_is_a_function_of_a_method() -> None:
    methods = [entry.load() for entry in METHODS.values()]
    assert [name for name in PHASES if not any(hasattr(method, name) for method in methods)] == []
