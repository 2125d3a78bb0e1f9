"""Memory health: its figures for a memory that is alive and for one that has collapsed, and its rows in the log."""

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import train
from engine.training import trainer
from methods import memory_health
from methods.memory_health import dead, health_of, read_sums
from network.categorical_memory import CategoricalMemory


def pixels_of(items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (1,C,4,4) and labels (1,8,8) of four classes, each pixel being its class's item; a row is ignored."""
    labels = torch.arange(4).repeat_interleave(4).view(1, 4, 4)
    features = items[labels].movedim(-1, 1)
    labels = labels.repeat_interleave(2, 1).repeat_interleave(2, 2).clone()
    labels[:, :2] = 255
    return features, labels


def test_a_memory_that_is_alive() -> None:
    memory = CategoricalMemory(4, dim=8, read_temp=0.01).eval()
    memory.items.copy_(torch.eye(8)[:4])
    memory.classifier.weight.data.copy_(torch.eye(8)[:4])
    values = health_of(memory, read_sums(memory, *pixels_of(memory.items)))
    assert values["item_cosine"] == values["item_cosine_max"] == 0
    assert values["own_item"] == values["item_accuracy"] == 1 and not dead(values)
    assert values["read_entropy"] < 1e-6 and 0 < values["recalled"] < 1


def test_a_memory_that_has_collapsed() -> None:
    memory = CategoricalMemory(4, dim=8).eval()
    memory.items.copy_(F.normalize(torch.ones(4, 8), dim=1))
    values = health_of(memory, read_sums(memory, *pixels_of(torch.eye(8)[:4])))
    assert values["item_cosine"] == pytest.approx(1) and values["read_entropy"] == pytest.approx(1)
    assert values["own_item"] == 0 and values["item_accuracy"] == 0.25  # the first item wins every draw
    assert values["recalled"] == pytest.approx(0, abs=1e-6) and dead(values)


def test_a_centred_memory_has_its_mean_cosine_by_construction_and_is_dead_by_its_reads() -> None:
    memory = CategoricalMemory(4, dim=8, read_temp=5, centred=True).eval()
    memory.items.copy_(F.normalize(1 + torch.eye(8)[:4], dim=1))
    values = health_of(memory, read_sums(memory, *pixels_of(torch.eye(8)[4:])))
    assert values["item_cosine"] == pytest.approx(-1 / 3) and dead(values)


def test_what_is_recalled_behind_a_closed_gate_does_not_count() -> None:
    memory = CategoricalMemory(4, dim=8, read_temp=0.01, residual=True).eval()
    memory.items.copy_(torch.eye(8)[:4])
    recalled = []
    for gate in (0, 0.01, 0.1):
        memory.gate.data.fill_(gate)
        recalled.append(health_of(memory, read_sums(memory, *pixels_of(memory.items)))["recalled"])
    assert recalled[0] == 0 < recalled[1] < recalled[2] / 20


@pytest.mark.usefixtures("thin_resnet")
def test_runs_log_it_and_warn_once(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(trainer, "PATIENCE", 2)
    monkeypatch.setattr(memory_health, "COLLAPSED", -1)
    line = f"--data_root {data} --dataset gtav synthia --val_dataset --arch DeepR18V3PlusD --pretrained_backbone none "
    line += "--crop_size 64 --bs_mult 2 --max_iter 3 --log_interval 1 --val_images 1 --mem_init_batches 1 --device cpu "
    train.main(
        [*line.split(), "--method", "pinmem", "--recipe", "tuned", "--exp_root", str(tmp_path), "--num_workers", "0"]
    )
    rows = [json.loads(row) for row in next(tmp_path.rglob("metrics.jsonl")).read_text().splitlines()]
    memory = [row for row in rows if row["kind"] == "memory"]
    assert [row["iteration"] for row in memory] == [1, 2, 3]
    assert all(math.isfinite(row[name]) for row in memory for name in ("item_cosine", "own_item", "recalled"))
    assert capsys.readouterr().err.count("all pixels read nearly the same") == 1
