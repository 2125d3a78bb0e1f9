"""The plan's line about loading: sizes, formats, augmentation and the workers of each process."""

from pathlib import Path

import pytest

from datasets.registry import spec
from engine.loading_cost import augmentation_cost, decoding_cost, loading_line
from engine.options.training_command import parse_training
from support.prepared_data import run
from utils.processes import own_cores


def test_cores_and_pace(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def line(more: str) -> str:
        common = f"--data_root {data} --dataset gtav synthia --val_dataset mapillary --crop_size 1000 --bs_mult 5"
        return loading_line(parse_training([*common.split(), *more.split()]))

    monkeypatch.setattr("engine.loading_cost.own_cores", lambda: 4)
    # 10 samples of 18 ms: 1 each, 17 for the crop, and almost nothing to read such small files
    two = line("--num_workers 2")
    assert "18 ms of a core per sample, 0.18 cores for an iteration per second; --num_workers 2 can feed 11 iter" in two
    assert "; --num_workers 9 can feed 22 iter" in line("--num_workers 9")  # four cores do the work
    assert line("--num_workers 0").endswith("; --num_workers 0: training waits for it")
    assert ", 0.091 cores" in line("--image_uniform_sampling")


def test_cost_of_augmentation() -> None:
    def cost(line: str) -> float:
        return augmentation_cost(parse_training(["--crop_size", "1000", *line.split()]))

    assert cost("") == 17 and cost("--color_aug 0.5 --gblur") == 17 + 45 / 2 + 26
    assert cost("--color_aug 0.5 --bblur --mldg") == 17 + (45 + 26) / 2 + (45 / 2 + 155) / 2
    three = "--dataset gtav synthia idd --mldg --recipe published"
    assert cost(three) == pytest.approx(17 + (45 + 26) / 3)


def test_cost_of_reading(data: Path, tmp_path: Path) -> None:
    gtav, jpeg = spec("gtav"), spec("mapillary")
    assert decoding_cost(data, gtav, gtav.pairs(data, "train")[0]) == pytest.approx(24 * 0.128 * 0.064)
    assert decoding_cost(data, jpeg, jpeg.pairs(data, "train")[0]) == pytest.approx(6 * 0.128 * 0.064)
    run(data, "--packed", "raw", "--out", tmp_path, "--datasets", "gtav")
    assert decoding_cost(tmp_path, gtav, gtav.pairs(tmp_path, "train")[0]) == pytest.approx(4 * 0.128 * 0.064)


def test_processes_of_a_machine_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)), raising=False)
    assert own_cores() == 16 and parse_training([]).machine.workers == 8
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert own_cores() == 4 and parse_training([]).machine.workers == 3
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "32")
    assert own_cores() == 1 and parse_training([]).machine.workers == 1
