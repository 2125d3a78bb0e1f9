"""The time of iterations, and the share of it that they wait for samples."""

import time
from collections.abc import Iterator

import pytest
import torch

from datasets.sampling.loaders import Batch
from engine.training.batch_feed import BatchFeed, Pace


class Clock:
    now = 0.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    return clock


def test_seconds_and_share(clock: Clock) -> None:
    def batches() -> Iterator[Batch]:
        while True:
            clock.now += 1
            yield Batch(torch.zeros(1), torch.zeros(1), torch.zeros(1, dtype=torch.bool))

    feed = BatchFeed(batches(), {}, 0)
    feed.fetch()  # before the first iteration
    pace = Pace(feed)
    for _ in range(2):
        clock.now += 3
        feed.fetch()
    assert pace.lap(2) == {"seconds": 4, "waiting": 0.25}
    clock.now += 100  # a validation, after which a batch comes at once
    pace.restart()
    clock.now += 5
    assert pace.lap(1) == {"seconds": 5, "waiting": 0}
