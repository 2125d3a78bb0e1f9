"""The baseline: empirical risk minimisation over all source domains pooled."""

from datasets.sampling.loaders import Batch
from methods.method import Method
from methods.objective import Terms


class Baseline(Method):
    """Minimise the segmentation loss of all domains pooled: w <- SGD(w, dL(w)/dw)."""

    def step(self, batch: Batch) -> Terms:
        terms, grads = self.accumulate(batch.pool(), self.losses)
        self.apply(grads)
        return terms

    def losses(self, batch: Batch) -> Terms:
        return self.objective(self.net(batch.images), batch)
