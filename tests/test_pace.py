"""The time of iterations, and the share of it that they wait for samples."""

import time
from collections.abc import Iterator

import pytest
import torch

from datasets.sampling.loaders import Batch
from engine.training.batch_feed import BatchFeed, Pace


def test_seconds_and_share(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def batches() -> Iterator[Batch]:
        while True:
            now[0] += 1
            yield Batch(torch.zeros(1), torch.zeros(1), torch.zeros(1, dtype=torch.bool))

    feed = BatchFeed(batches(), {}, 0)
    pace = Pace(feed)
    for _ in range(2):
        now[0] += 3
        feed.fetch()
    assert pace.lap(2) == {"seconds": 4, "waiting": 0.25}
    now[0] += 100  # a validation
    pace.restart()
    now[0] += 5
    assert pace.lap(1) == {"seconds": 5, "waiting": 0}
