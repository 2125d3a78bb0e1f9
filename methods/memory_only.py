"""Pin the Memory without meta-learning: all domains pooled write the memory and read it."""

from datasets.sampling.loaders import Batch
from methods.objective import Terms
from methods.pinmem import PinMem


class MemoryOnly(PinMem):
    """The baseline with a memory.  In the terms of ``PinMem``, with D all domains pooled:

    g  = d [L_read(w, M; D) + L_write(w, M; D)] / dw
    w <- SGD(w, g)
    M <- write(M, D; w)
    """

    def step(self, batch: Batch) -> Terms:
        batch = batch.pool()
        terms, grads = self.accumulate(batch, self.read_and_write_losses)
        self.apply(grads)
        self.absorb(batch)
        return terms
