"""The confusion matrix against a count by hand."""

import pytest
import torch

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


def test_counts_are_exact_beyond_single_precision() -> None:
    matrix = ConfusionMatrix(2)
    matrix.counts[0, 0] = 2**24
    matrix.update(torch.zeros(1, 1, dtype=torch.uint8), torch.zeros(1, 1, dtype=torch.uint8))
    assert matrix.counts[0, 0] == 2**24 + 1
