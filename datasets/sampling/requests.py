"""The samples that are drawn in each iteration: a pure function of (seed, iteration), which travels to the workers."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

ROLES, SAMPLE, REPLACEMENT = range(3)  # purposes of random streams


class Request(NamedTuple):
    """One sample of one iteration: all that a worker needs to draw it."""

    iteration: int  # negative for batches before the training
    domain: int  # position in the list of domains
    slot: int  # position within the domain's part of the batch
    hard: bool  # strong colour jitter
    meta_test: bool  # role of the domain in this iteration


def stream(purpose: int, *numbers: int) -> np.random.Generator:
    """An own random stream for each tuple of integers of either sign."""
    return np.random.default_rng([purpose, *(2 * n if n >= 0 else -2 * n - 1 for n in numbers)])


def meta_split(num_domains: int, seed: int, iteration: int) -> list[bool]:
    """Which domains are meta-test: a random permutation of them, cut at U{1..D-1}, as in the published training."""
    rng = stream(ROLES, seed, iteration)
    cut = rng.integers(1, num_domains)
    return (rng.permutation(num_domains) >= cut).tolist()


@dataclass(frozen=True)
class IterationSampler:
    """The requests of the iterations from ``start`` to ``stop``: all slots of the first domain, then of the next."""

    num_domains: int
    batch_size: int  # per domain
    start: int
    stop: int
    seed: int
    meta: bool = False  # whether domains are split into meta-train and meta-test
    meta_aug: str = "none"  # strong jitter for 'role' (meta-test), for 'first_domain' always, or for 'none'

    def __post_init__(self) -> None:
        self.requests(self.start)  # raises here, rather than in a worker, if there are too few domains

    def requests(self, iteration: int) -> list[Request]:
        """The D*N requests of one iteration."""
        none = [False] * self.num_domains
        roles = meta_split(self.num_domains, self.seed, iteration) if self.meta else none
        hard = {"role": roles, "first_domain": [True, *none[1:]], "none": none}[self.meta_aug]
        return [
            Request(iteration, domain, slot, hard[domain], roles[domain])
            for domain in range(self.num_domains)
            for slot in range(self.batch_size)
        ]

    def __len__(self) -> int:
        return max(0, self.stop - self.start)

    def __iter__(self) -> Iterator[list[Request]]:
        return map(self.requests, range(self.start, self.stop))
