"""The confusion matrix compared with a count by hand."""

import json
from pathlib import Path

import pytest
import torch

from datasets.labels import ClassSet
from engine.evaluating.results import class_table, domain_result, mean_of, write_csv
from utils.files import write_json
from utils.metrics import ConfusionMatrix


def test_scores_by_hand() -> None:
    matrix = ConfusionMatrix(4)
    labels = torch.tensor([[0, 0, 0, 1], [1, 255, 2, 0]], dtype=torch.uint8)
    predictions = torch.tensor([[0, 0, 1, 1], [0, 3, 2, 0]], dtype=torch.uint8)
    matrix.update(labels, predictions)
    scores = matrix.scores()
    assert matrix.images == 1 and matrix.counts.sum() == 7
    assert scores.iou[:3].tolist() == pytest.approx([3 / 5, 1 / 3, 1])
    assert scores.precision[:2].tolist() == pytest.approx([3 / 4, 1 / 2])
    assert scores.recall[:2].tolist() == pytest.approx([3 / 4, 1 / 2])
    assert scores.iou[3].isnan()  # neither labelled nor predicted on a labelled pixel
    assert scores.mean_iou == pytest.approx((3 / 5 + 1 / 3 + 1) / 3)
    assert scores.accuracy == pytest.approx(5 / 7)
    assert scores.share.tolist() == pytest.approx([4 / 7, 2 / 7, 1 / 7, 0])
    assert scores.mean_iou_above(0.2) == pytest.approx((3 / 5 + 1 / 3) / 2)


def test_no_class_is_frequent(tmp_path: Path) -> None:
    """Means over nothing are null in JSON, empty in CSV and a dash on the screen."""
    matrix = ConfusionMatrix(120)
    matrix.update(torch.arange(120).view(1, 120), torch.zeros(1, 120, dtype=torch.uint8))
    classes = ClassSet(("road", *(f"c{k}" for k in range(119))), ((0, 0, 0),) * 120)
    found = domain_result([matrix.scores()] * 2, {}, classes=classes)
    domains = {"d": found, "e": found}
    write_json(tmp_path / "r.json", domains | {"mean": mean_of(domains)})
    read = json.loads((tmp_path / "r.json").read_text(), parse_constant=pytest.fail)
    for row in (read["d"], read["d"]["reads"][1], read["mean"]):
        assert row["mean_iou_frequent"] is None and row["mean_iou"] == pytest.approx(1 / 120**2)
    write_csv(tmp_path / "r.csv", domains, mean=mean_of(domains))
    assert "mean_iou_frequent,,,,,,,\n" in (tmp_path / "r.csv").read_text()
    assert "(- over the classes with 1%" in class_table(found)


def test_counts_are_exact_beyond_single_precision() -> None:
    matrix = ConfusionMatrix(2)
    matrix.counts[0, 0] = 2**24
    matrix.update(torch.zeros(1, 1, dtype=torch.uint8), torch.zeros(1, 1, dtype=torch.uint8))
    assert matrix.counts[0, 0] == 2**24 + 1
