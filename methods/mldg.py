"""Meta-learning for domain generalisation (Li et al., AAAI 2018), first order."""

from torch import Tensor

from datasets.sampling.loaders import Batch
from methods.method import Method, by_stage, call_with, meta_parts
from methods.objective import Terms


class MLDG(Method):
    """Step on some domains, then ask the stepped network about the other domains.

    With L(w; D) the loss of a network with weights w on the domains D, and a the step of the look-ahead:

        g_train = dL(w; meta-train) / dw
        w'      = w - a g_train
        g_test  = dL(w'; meta-test) / dw'
        w      <- SGD(w, g_train + g_test)

    First order: dw'/dw is taken as the identity, as in the authors' release of Pin the Memory.
    ``batch.meta_test`` says which domains play meta-test in this iteration.  ``meta_split`` may divide the images of
    each domain instead, or take all images in both parts.
    """

    def step(self, batch: Batch) -> Terms:
        train, test = meta_parts(batch, self.options.meta_split)
        inner, train_grads = self.accumulate(train, self.losses)
        ahead = self.look_ahead(train_grads)
        outer, test_grads = self.accumulate(test, lambda part: self.losses_at(ahead, part))
        self.apply(train_grads, test_grads, mean=self.options.meta_mean)
        return by_stage(inner, outer)

    def losses(self, batch: Batch) -> Terms:
        return self.objective(self.net(batch.images), batch)

    def losses_at(self, state: dict[str, Tensor], batch: Batch) -> Terms:
        """The losses of the network in another state."""
        return self.objective(call_with(self.net, state, batch.images), batch)
