"""Meta-learning for domain generalisation (Li et al., AAAI 2018), first order."""

import torch
from torch import Tensor
from torch.func import functional_call

from datasets.sampling.loaders import Batch
from methods.aggregate import Aggregate, Terms, detached
from network.deeplab import SegOutput


class MLDG(Aggregate):
    """Step on some domains, then ask the stepped network about the others.

    The update direction is G_i + G_j: G_i the gradient of the meta-train losses at the weights w, G_j the gradient of
    the meta-test losses at w - a G_i, with d(w - a G_i)/dw taken as the identity.  Which domains play meta-test is
    said by ``batch.meta_test``.
    """

    def __init__(self, *args, inner_lr: float = 1e-3, anneal: bool = False, **kwargs):
        super().__init__(*args, **kwargs)
        self.first_inner_lr, self.anneal = inner_lr, anneal

    @property
    def inner_lr(self) -> float:
        """The step a: with ``anneal`` a quarter of the outer learning rate, save in the very first iteration."""
        if self.anneal and self.scheduler.last_epoch > 0:
            return self.scheduler.get_last_lr()[0] / 4
        return self.first_inner_lr

    def stepped_buffers(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The whole state at other weights; cloned buffers keep the network's batch-norm statistics as they are."""
        return {name: buffer.clone() for name, buffer in self.net.named_buffers()} | weights

    def look_ahead(self, weights: dict[str, Tensor], images: Tensor, **kwargs) -> SegOutput:
        """What the network would answer at other weights."""
        return functional_call(self.net, self.stepped_buffers(weights), (images,), kwargs)

    def meta_test(self, weights: dict[str, Tensor], train: Batch, test: Batch) -> Terms:
        """Losses on the meta-test domains at the stepped ``weights``; ``train`` is what was stepped on."""
        return self.losses(self.look_ahead(weights, test.images), test)

    def step(self, batch: Batch) -> Terms:
        train, test = batch.pool(~batch.meta_test), batch.pool(batch.meta_test)
        inner, grads = self.accumulate(train, self.observe)
        stepped = {
            name: torch.sub(param, g, alpha=self.inner_lr)
            for (name, param), g in zip(self.params.items(), grads, strict=True)
        }
        outer, outer_grads = self.accumulate(test, lambda part: self.meta_test(stepped, train, part))
        self.apply([i.add_(o) for i, o in zip(grads, outer_grads, strict=True)])
        self.after_update(train)
        self.scheduler.step()
        return detached(inner, "inner/") | detached(outer, "outer/")
