"""Seeds from several numbers."""

import numpy as np


def seed_of(*numbers: int) -> int:
    """One seed from several numbers of 0 or more; similar numbers give unrelated seeds."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
