"""The plan's line about loading: sizes, formats, augmentation and the workers of each process."""

from pathlib import Path

import pytest

from datasets.registry import spec
from engine.loading_cost import augmentation_cost, decoding_cost, loading_line
from engine.options.training_command import parse_training
from support.prepared_data import run


@pytest.mark.parametrize(
    ("more", "cores", "pace"),
    [
        ("--num_workers 0", "0.1 cores", "--num_workers 0: training waits for it"),
        ("--num_workers 2", "0.1 cores", "--num_workers 2 can feed 20 iterations per second"),
        (
            "--num_workers 9 --image_uniform_sampling",
            "0.051 cores",
            "--num_workers 9 can feed 78 iterations per second",
        ),
    ],
)
def test_cores(more: str, cores: str, pace: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten samples, or five, of 10 ms: 1 each, 9 for the crop, and almost nothing to read such small files."""
    monkeypatch.setattr("engine.loading_cost.own_cores", lambda: 4)
    line = f"--data_root {data} --dataset gtav synthia --val_dataset mapillary --crop_size 1000 --bs_mult 5 {more}"
    text = f"loading     10 ms of a core per sample, {cores} for an iteration per second; {pace}"
    assert loading_line(parse_training(line.split())) == text


@pytest.mark.parametrize(
    ("line", "cost"),
    [
        ("", 9),
        ("--color_aug 0.5 --gblur", 9 + 12 / 2 + 5),
        ("--color_aug 0.5 --bblur --mldg", 9 + (12 + 5) / 2 + (12 / 2 + 155) / 2),
        ("--dataset gtav synthia idd --mldg --recipe published", 9 + (12 + 5) / 3),
    ],
)
def test_cost_of_augmentation(line: str, cost: float) -> None:
    assert augmentation_cost(parse_training(["--crop_size", "1000", *line.split()])) == pytest.approx(cost)


def test_cost_of_reading(data: Path, tmp_path: Path) -> None:
    (tmp_path / "GTAV").symlink_to(data / "GTAV")
    run(tmp_path, "--packed", "raw", "--datasets", "gtav")
    for name, root, rate in (("gtav", data, 24), ("mapillary", data, 6), ("gtav", tmp_path, 4)):
        cost = decoding_cost(root, spec(name), spec(name).pairs(root, "train")[0])
        assert cost == pytest.approx(rate * 0.128 * 0.064)
