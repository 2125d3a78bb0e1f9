"""The batches of a run, and what its processes must agree on between two iterations."""

import time
from collections.abc import Iterable, Iterator

from tqdm import tqdm

from datasets.sampling.loaders import Batch, too_many
from utils.distributed import gather, which_on_any_rank
from utils.errors import CommonError, UsageError
from utils.processes import rank


class Feed:
    """Fetches each batch before the processes agree to go on, so that all stop where one of them has met a bad file.

    ``bad_files`` are the images that could not be used in the iterations done, with what is wrong with each, of all
    processes; up to ``allowed`` of them are replaced.
    """

    def __init__(self, batches: Iterable[Batch], bad_files: dict[str, str], allowed: int) -> None:
        self.batches = iter(batches)
        self.bad_files, self.allowed = bad_files, allowed
        self.batch: Batch | None = None  # the next one; None at the end
        self.waited = 0.0  # seconds spent waiting for batches so far, by this process
        self.replaced: dict[str, str] = {}  # bad files that are new in it, of all processes
        self.fault = ""  # why training cannot go on; the same in all processes

    def fetch(self, *, signalled: bool = False) -> bool:
        """Fetch the next batch; called by all processes together, of which it tells whether any is ``signalled``."""
        self.batch, fault = None, ""
        start = time.perf_counter()
        try:
            self.batch = next(self.batches, None)
        except UsageError as error:
            fault = str(error)
        self.waited += time.perf_counter() - start
        found = dict(self.batch.replaced) if self.batch else {}
        telling = bool(fault) or self.beyond(found) or not found.keys() <= self.bad_files.keys()
        stop, compare = which_on_any_rank(signalled, telling)
        self.replaced = {}
        if compare:
            self.compare(fault, found)
        return stop

    def beyond(self, found: dict[str, str]) -> bool:
        """Whether with these bad files there are too many."""
        return bool(found) and len(self.bad_files | found) > self.allowed

    def compare(self, fault: str, found: dict[str, str]) -> None:
        """Put together what the processes have met."""
        reports = gather((fault, found))
        faults = [fault for fault, _ in reports if fault]
        found = {name: what for _, bad in reports for name, what in bad.items()}
        self.replaced = {name: what for name, what in found.items() if name not in self.bad_files}
        if faults:
            self.fault = faults[0]
        elif self.beyond(found):
            new = list(self.replaced.values()) or list(found.values())
            room = max(0, self.allowed - len(self.bad_files))
            self.fault = too_many(new[min(room, len(new) - 1)], self.allowed)

    def count(self) -> None:
        """Count the bad files of the batch, with which an iteration is done now."""
        for name, what in self.replaced.items():
            self.bad_files[name] = what
            if rank() == 0:
                tqdm.write(f"bad file {len(self.bad_files)} of {self.allowed}, another takes its place: {what}")

    def __iter__(self) -> Iterator[Batch]:
        """The batches one by one, each counted after its use; for all processes together."""
        self.fetch()
        while self.batch is not None and not self.fault:
            yield self.batch
            self.count()
            self.fetch()
        if self.fault:
            raise CommonError(self.fault)

    def close(self) -> None:
        """Let the processes that load data go."""
        getattr(self.batches, "close", lambda: None)()
