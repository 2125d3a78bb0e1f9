"""How long iterations take, and how much of that goes by until their samples are there."""

import time

from engine.training.batch_feed import Feed


class Pace:
    """Times the iterations between two logs; what comes in between, as validation does, is left out by ``restart``."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.restart()

    def restart(self) -> None:
        self.began, self.waited = time.perf_counter(), self.feed.waited

    def lap(self, iterations: int) -> dict[str, float]:
        """Seconds per iteration since the last lap, of which there were so many, and the share that was waiting.

        To be called once the device has done its part.  A GPU works on while this process waits for the next samples:
        there the share is an upper bound.
        """
        seconds, waited = time.perf_counter() - self.began, self.feed.waited - self.waited
        self.restart()
        return {"seconds": seconds / iterations, "waiting": waited / seconds}
