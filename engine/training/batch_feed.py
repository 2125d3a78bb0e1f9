"""The batches of a run: what its processes agree on between two iterations, and how long iterations take."""

import time
from collections.abc import Iterable, Iterator

from datasets.sampling.loaders import Batch, too_many
from utils.distributed import gather, which_on_any_rank
from utils.errors import CommonError, UsageError
from utils.log import log


class BatchFeed:
    """Fetches each batch before the processes agree to go on: all stop together where one of them met a bad file.

    ``bad_files`` are the images that could not be used so far, in any process, with what is wrong with each.  Up to
    ``allowed`` of them are replaced by other images.
    """

    def __init__(self, batches: Iterable[Batch], bad_files: dict[str, str], allowed: int) -> None:
        self.batches = iter(batches)
        self.bad_files, self.allowed = bad_files, allowed
        self.batch: Batch | None = None  # the next one; None at the end
        self.waited = 0.0  # seconds that this process has waited for batches
        self.replaced: dict[str, str] = {}  # new bad files in the next batch, of all processes
        self.fault = ""  # why training cannot go on; the same in all processes

    def fetch(self, *, signalled: bool = False) -> bool:
        """Fetch the next batch; return whether any process is ``signalled``.  All processes call this together."""
        fault, start = "", time.perf_counter()
        try:
            self.batch = next(self.batches, None)
        except UsageError as error:
            self.batch, fault = None, str(error)
        self.waited += time.perf_counter() - start
        bad = dict(self.batch.replaced) if self.batch else {}
        stop, any_news = which_on_any_rank(signalled, bool(fault) or not bad.keys() <= self.bad_files.keys())
        self.replaced = {}
        if any_news:
            self.share(fault, bad)
        return stop

    def share(self, fault: str, bad: dict[str, str]) -> None:
        """Collect what all processes have met."""
        reports = gather((fault, bad))
        met = {name: problem for _, files in reports for name, problem in files.items()}
        self.replaced = {name: problem for name, problem in met.items() if name not in self.bad_files}
        room = max(0, self.allowed - len(self.bad_files))
        if faults := [fault for fault, _ in reports if fault]:
            self.fault = faults[0]
        elif len(self.replaced) > room:
            self.fault = too_many(list(self.replaced.values())[room], self.allowed)

    def count(self) -> None:
        """Count the bad files of the batch: its iteration is done."""
        for name, problem in self.replaced.items():
            self.bad_files[name] = problem
            log.info(f"bad file {len(self.bad_files)} of {self.allowed}, another image takes its place: {problem}")

    def __iter__(self) -> Iterator[Batch]:
        """The batches one by one, each counted after its use; all processes iterate together."""
        self.fetch()
        while self.batch is not None and not self.fault:
            yield self.batch
            self.count()
            self.fetch()
        if self.fault:
            raise CommonError(self.fault)

    def close(self) -> None:
        """End the processes that load data; they would wait for ever."""
        getattr(self.batches, "close", lambda: None)()


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
