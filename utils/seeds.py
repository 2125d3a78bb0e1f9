"""Seeds from several numbers."""

import numpy as np


def seed_of(*numbers: int) -> int:
    """One seed from several numbers of 0 or more, such that neighbours are unrelated."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
