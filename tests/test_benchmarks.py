"""The benchmark of a training step."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import step


def test_a_step_is_that_of_train(thin_resnet: None) -> None:
    ours = step.Step("pinmem", step.Options(device="cpu", arch="DeepR18V3PlusD", crop=48))
    ours.work()
    assert ours.loaded.images.dtype == torch.uint8 and ours.trainer.progress.iteration == 1
    ours.floor()


def test_medians_and_peaks_are_shown_and_all_turns_written(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = "--methods baseline --arch DeepR18V3PlusD --device cpu --crop 32 --repeats 2 --json"
    monkeypatch.setattr("sys.argv", ["step", *line.split(), str(tmp_path / "figures.json")])
    step.main()
    head, _, row = capsys.readouterr().out.splitlines()
    assert head == "| case | s/iteration | floor | ratio | peak GB |" and row.startswith("| baseline | ")
    written = json.loads((tmp_path / "figures.json").read_text())
    first, second = (turn["ratio"] for turn in written["turns"]["baseline"])
    assert written["medians"]["baseline"]["ratio"] == pytest.approx((first + second) / 2)
    assert written["medians"]["baseline"]["peak GB"] > 0
    assert written["options"]["repeats"] == 2 and written["machine"]["torch"]
