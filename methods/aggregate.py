"""The baseline: all domains pooled; and what every other method shares with it."""

from collections.abc import Callable
from functools import partial

from torch import Tensor, autograd, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from datasets.loaders import Batch
from loss.segmentation import auxiliary_cross_entropy, cross_entropy
from methods.whitening import Whitening
from network.deeplab import SegOutput
from utils.distributed import all_sum, all_sum_

Terms = dict[str, Tensor]
PixelLoss = Callable[[Tensor, Tensor], Tensor]  # logits N,K,h,w and labels N,H,W -> this process's share of the loss
PLAIN, PLAIN_AUXILIARY = (partial(loss, reduce=all_sum) for loss in (cross_entropy, auxiliary_cross_entropy))


class Aggregate:
    """Minimise the sum of ``losses`` over all domains pooled.

    A method's ``step`` takes one ``Batch`` (images D,N,3,H,W, labels D,N,H,W), updates the network once, advances the
    schedule, and returns its weighted loss terms by name, as detached tensors: reading their values would make a GPU
    wait.  A new method overrides what differs: ``losses``, ``observe``, ``after_update`` or ``step`` itself.
    ``segmentation`` is the loss of the network's answer, ``auxiliary`` that of its auxiliary head,
    ``whitening`` that of its normalised maps.
    """

    def __init__(
        self,
        net: nn.Module,
        optimizer: Optimizer,
        scheduler: LRScheduler,
        *,
        segmentation: PixelLoss = PLAIN,
        auxiliary: PixelLoss = PLAIN_AUXILIARY,
        aux_weight: float = 0.4,
        whitening: Whitening | None = None,
    ):
        self.net, self.optimizer, self.scheduler = net, optimizer, scheduler
        self.segmentation, self.auxiliary, self.aux_weight = segmentation, auxiliary, aux_weight
        self.whitening = whitening
        self.params = {name: param for name, param in net.named_parameters() if param.requires_grad}

    def losses(self, out: SegOutput, batch: Batch) -> Terms:
        """Weighted loss terms of one flat batch, this process's share of each; their sum over terms and processes is
        minimised."""
        terms = {"seg": self.segmentation(out.coarse, batch.labels)}
        if out.aux is not None:
            terms["aux"] = self.aux_weight * self.auxiliary(out.aux, batch.labels)
        if self.whitening is not None:
            terms["whitening"] = self.whitening(out.whitened)
        return terms

    def observe(self, batch: Batch) -> Terms:
        """Look at one flat batch with the present weights."""
        return self.losses(self.net(batch.images), batch)

    def after_update(self, batch: Batch) -> None:
        """Called with the batch that was observed, once the weights have changed."""

    def gradients(self, terms: Terms) -> list[Tensor]:
        """The gradient of the terms' sum over all processes for every parameter, zeros where none arrives."""
        total = sum(terms.values())
        grads = list(autograd.grad(total, self.params.values(), allow_unused=True, materialize_grads=True))
        all_sum_(grads)
        return grads

    def apply(self, grads: list[Tensor]) -> None:
        for param, grad in zip(self.params.values(), grads, strict=True):
            param.grad = grad
        self.optimizer.step()
        self.optimizer.zero_grad()

    def step(self, batch: Batch) -> Terms:
        flat = batch.pool()
        terms = self.observe(flat)
        self.apply(self.gradients(terms))
        self.after_update(flat)
        self.scheduler.step()
        return detached(terms)


def detached(terms: Terms, prefix: str = "") -> Terms:
    return {prefix + name: term.detach() for name, term in terms.items()}
