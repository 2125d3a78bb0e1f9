"""What all methods share: the parts that they train, gradients, and the update."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, autograd, nn
from torch.func import functional_call
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from datasets.sampling.loaders import Batch
from methods.objective import Objective, Terms
from utils.distributed import all_sums
from utils.precision import full_precision


class Method:
    """A way to train a network.  A subclass writes ``step``.

    ``step`` takes one ``Batch`` (images D,N,3,H,W and labels D,N,H,W of D domains), updates the network once by
    ``apply``, and returns its weighted loss terms by name: detached tensors, one share per process.  The loop
    reads them later, since reading makes a GPU wait.

    ``objective`` is the loss of a network's output.  ``parts`` splits each pass over a batch into smaller ones, which
    need less memory; batch norm then sees one part at a time.  ``clip`` is the largest norm of a gradient, 0 any.
    """

    def __init__(
        self,
        net: nn.Module,
        optimizer: Optimizer,
        scheduler: LRScheduler,
        *,
        options: Any,
        objective: Objective | None = None,
        parts: int = 1,
        clip: float = 0.0,
    ):
        self.net, self.optimizer, self.scheduler = net, optimizer, scheduler
        self.options, self.objective, self.parts, self.clip = options, objective or Objective(), parts, clip
        self.params = {name: param for name, param in net.named_parameters() if param.requires_grad}

    def step(self, batch: Batch) -> Terms:
        raise NotImplementedError

    def health(self) -> dict[str, float]:
        """Figures about the state of the method, for the log; the loop asks for them at each log interval."""
        return {}

    def own_gradients(self, terms: Terms) -> list[Tensor]:
        """The gradient of this process's share of ``terms`` for every parameter; zero where none arrives.

        Under autocast, the backward of a region in ``full_precision`` would round its products to half precision.
        """
        total = sum(terms.values())
        with full_precision(total.device):
            return list(autograd.grad(total, self.params.values(), allow_unused=True, materialize_grads=True))

    def accumulate(self, batch: Batch, losses: Callable[[Batch], Terms]) -> tuple[Terms, list[Tensor]]:
        """The terms of ``losses`` (detached) for a flat batch, and their gradients, summed over parts and processes."""
        first, *others = batch.parts(self.parts)
        terms = losses(first)
        grads = self.own_gradients(terms)
        terms = {name: term.detach() for name, term in terms.items()}
        for part in others:
            more = losses(part)
            own = self.own_gradients(more)
            with torch.no_grad():
                torch._foreach_add_(grads, own)
            terms = {name: term + more[name].detach() for name, term in terms.items()}
        return terms, all_sums(grads, like=self.params.values())

    @torch.no_grad()  # with torch 2.6, a gradient may be a view that can only be changed so
    def apply(self, *gradients: list[Tensor], mean: bool = False) -> None:
        """One step of the optimizer along the sum of ``gradients``, or their ``mean``, and one step of the schedule."""
        total, *others = gradients
        for more in others:
            torch._foreach_add_(total, more)
        if mean:
            torch._foreach_div_(total, len(gradients))
        if self.clip:
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(total)))
            torch._foreach_mul_(total, (self.clip / (norm + 1e-6)).clamp_max(1))
        for param, grad in zip(self.params.values(), total, strict=True):
            param.grad = grad
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.scheduler.step()

    def look_ahead(self, grads: list[Tensor]) -> dict[str, Tensor]:
        """The state of the network after one plain gradient step: w - a g for every parameter w, by name.

        Buffers are cloned, so that a forward pass with this state leaves the running statistics as they are.
        """
        buffers = dict(self.net.named_buffers())
        stepped = _Stepped.apply(self.look_ahead_rate(), grads, *self.params.values())
        return copies(buffers) | dict(zip(self.params, stepped, strict=True))

    def look_ahead_rate(self) -> float:
        """The step of the look-ahead: with ``inner_lr_anneal`` lr / 4 from the second iteration on, as published."""
        if self.options.inner_lr_anneal and self.scheduler.last_epoch > 0:
            return self.scheduler.get_last_lr()[0] / 4
        return self.options.inner_lr


class _Stepped(torch.autograd.Function):
    """w - a g for all parameters w, with few kernel launches.  The backward pass hands gradients on unchanged."""

    @staticmethod
    def forward(ctx: Any, rate: float, grads: list[Tensor], *params: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        return tuple(torch._foreach_sub(params, grads, alpha=rate))

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Tensor | None, ...]:
        return None, None, *upstream


def meta_parts(batch: Batch, split: str) -> tuple[Batch, Batch]:
    """The pooled images for meta-train and for meta-test.

    ``split`` 'domains': those of the domains with these roles, as in the paper.  'images': every other image of each
    domain.  'all': both are the whole batch.
    """
    if split == "domains":
        return batch.pool(~batch.meta_test), batch.pool(batch.meta_test)
    whole = batch.pool()
    if split == "all":
        return whole, whole
    halves = ((batch.images[:, first::2], batch.labels[:, first::2]) for first in (0, 1))
    train, test = (whole._replace(images=x.flatten(0, 1), labels=y.flatten(0, 1)) for x, y in halves)
    return train, test


def call_with(module: nn.Module, state: Mapping[str, Tensor], *args: Any, prefix: str = "", **kwargs: Any) -> Any:
    """What ``module`` returns with the weights and buffers in ``state``, whose names begin with ``prefix``."""
    own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    return functional_call(module, own, args, kwargs)


def copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies of ``tensors``, by one launch of the device for many of them."""
    made = {name: torch.empty_like(x) for name, x in tensors.items()}
    for dtype in {x.dtype for x in made.values()}:  # of several types, each would be copied alone
        torch._foreach_copy_(*([x for x in group.values() if x.dtype == dtype] for group in (made, tensors)))
    return made


def by_stage(inner: Terms, outer: Terms) -> Terms:
    """The terms of both stages of meta-learning by names like inner/seg and outer/seg."""
    named = {f"inner/{name}": term for name, term in inner.items()}
    return named | {f"outer/{name}": term for name, term in outer.items()}
