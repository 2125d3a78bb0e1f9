"""How long iterations take, and how much of that time they wait for samples."""

import time

from engine.training.batch_feed import BatchFeed


class Pace:
    """Times the iterations between two logs.  ``restart`` leaves out what happens between them, such as validation."""

    def __init__(self, feed: BatchFeed) -> None:
        self.feed = feed
        self.restart()

    def restart(self) -> None:
        self.began, self.waited = time.perf_counter(), self.feed.waited

    def lap(self, iterations: int) -> dict[str, float]:
        """Seconds per iteration since the last lap, and the share of the time spent waiting for samples.

        Call it when the device has done its part.  A GPU works while this process waits for samples; there the share is
        an upper bound.
        """
        seconds, waited = time.perf_counter() - self.began, self.feed.waited - self.waited
        self.restart()
        return {"seconds": seconds / iterations, "waiting": waited / seconds}
