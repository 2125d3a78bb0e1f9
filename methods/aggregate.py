"""The baseline: all domains pooled; and what every other method shares with it."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

from torch import Tensor, autograd, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from datasets.sampling.loaders import Batch
from loss.segmentation import auxiliary_cross_entropy, cross_entropy
from methods.whitening_term import Whitening
from network.deeplab import SegOutput
from utils.distributed import all_sum, all_sums

Terms = dict[str, Tensor]
AUX_WEIGHT = 0.4  # PSPNet's, and the release's
PLAIN, PLAIN_AUXILIARY = (partial(loss, reduce=all_sum) for loss in (cross_entropy, auxiliary_cross_entropy))


class PixelLoss(Protocol):
    def __call__(self, logits: Tensor, labels: Tensor, *, whole: Tensor | None) -> Tensor:
        """This process's share of the loss of logits N,K,h,w by labels N,H,W, a part of those of a ``whole`` batch."""


class Aggregate:
    """Minimise the sum of ``losses`` over all domains pooled.

    A method's ``step`` takes one ``Batch`` (images D,N,3,H,W, labels D,N,H,W), updates the network once, advances the
    schedule, and returns its weighted loss terms by name, as detached tensors: reading their values would make a GPU
    wait.  A new method overrides what differs: ``losses``, ``observe``, ``after_update`` or ``step`` itself.
    ``segmentation`` is the loss of the network's answer, ``auxiliary`` that of its auxiliary head,
    ``whitening`` that of its normalised maps.

    A pass over a batch takes it in ``parts``, one after the other, in the memory of one; its losses are shares, as are
    those of a process.  The sum is the pass over the whole, save that batch norm goes by the part and moves its running
    statistics with each.  Terms that are no sums over images, as those of the memory, allow one part only.
    """

    def __init__(
        self,
        net: nn.Module,
        optimizer: Optimizer,
        scheduler: LRScheduler,
        *,
        segmentation: PixelLoss = PLAIN,
        auxiliary: PixelLoss = PLAIN_AUXILIARY,
        whitening: Whitening | None = None,
        parts: int = 1,
    ):
        self.net, self.optimizer, self.scheduler = net, optimizer, scheduler
        self.segmentation, self.auxiliary = segmentation, auxiliary
        self.whitening, self.parts = whitening, parts
        self.params = {name: param for name, param in net.named_parameters() if param.requires_grad}

    def losses(self, out: SegOutput, batch: Batch) -> Terms:
        """Weighted loss terms of one flat batch, or part of one, this process's share of each; their sum over terms,
        parts and processes is minimised."""
        terms = {"seg": self.segmentation(out.coarse, batch.labels, whole=batch.whole)}
        if out.aux is not None:
            terms["aux"] = AUX_WEIGHT * self.auxiliary(out.aux, batch.labels, whole=batch.whole)
        if self.whitening is not None:
            images = None if batch.whole is None else len(batch.whole)
            terms["whitening"] = self.whitening(out.whitened, images=images)
        return terms

    def observe(self, batch: Batch) -> Terms:
        """Look at one flat batch, or part of one, with the present weights."""
        return self.losses(self.net(batch.images), batch)

    def after_update(self, batch: Batch) -> None:
        """Called with the batch that was observed, once the weights have changed."""

    def gradients(self, terms: Terms) -> list[Tensor]:
        """The gradient of this process's terms for every parameter, zeros where none arrives."""
        total = sum(terms.values())
        return list(autograd.grad(total, self.params.values(), allow_unused=True, materialize_grads=True))

    def accumulate(self, batch: Batch, observe: Callable[[Batch], Terms]) -> tuple[Terms, list[Tensor]]:
        """What ``observe`` finds in a flat batch, part by part: the sums of its terms, detached, and of their
        gradients, the latter over all processes too."""
        first, *others = batch.parts(self.parts)
        terms = observe(first)
        grads = self.gradients(terms)
        terms = detached(terms)
        for part in others:
            more = observe(part)
            for total, grad in zip(grads, self.gradients(more), strict=True):
                total.add_(grad)
            terms = {name: term + more[name].detach() for name, term in terms.items()}
        return terms, all_sums(grads, like=self.params.values())

    def apply(self, grads: list[Tensor]) -> None:
        for param, grad in zip(self.params.values(), grads, strict=True):
            param.grad = grad
        self.optimizer.step()
        self.optimizer.zero_grad()

    def step(self, batch: Batch) -> Terms:
        flat = batch.pool()
        terms, grads = self.accumulate(flat, self.observe)
        self.apply(grads)
        self.after_update(flat)
        self.scheduler.step()
        return terms


def detached(terms: Terms, prefix: str = "") -> Terms:
    return {prefix + name: term.detach() for name, term in terms.items()}
