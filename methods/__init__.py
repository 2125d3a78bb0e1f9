"""Ways to train: one class each, which owns its losses and one ``step``; the loop around it knows nothing else."""

from methods.aggregate import Aggregate
from methods.memory_only import MemoryAggregate
from methods.mldg import MLDG
from methods.pinmem import PinMem

__all__ = ["MLDG", "Aggregate", "MemoryAggregate", "PinMem", "choose_method"]


def choose_method(*, mldg: bool, memory: bool) -> type[Aggregate]:
    """The class that the release's two flags ``--mldg`` and ``--memory`` name."""
    if memory:
        return PinMem if mldg else MemoryAggregate
    return MLDG if mldg else Aggregate
