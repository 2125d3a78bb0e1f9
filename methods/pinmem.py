"""Pin the Memory (Kim et al., CVPR 2022)."""

import torch
from torch import Tensor
from torch.func import functional_call

from datasets.sampling.loaders import Batch
from methods.aggregate import Terms
from methods.memory_only import MemoryAggregate
from methods.mldg import MLDG
from utils.distributed import all_sum


class PinMem(MemoryAggregate, MLDG):
    """MLDG in which the meta-test domains read a memory written from the meta-train domains.

    The memory read in meta-test is the one that the stepped network would write; the gradient of the meta-test losses
    reaches that network's update layer through it, but not the encoder that produced the features.  The memory that
    is stored in the end absorbs meta-train images only.
    """

    def meta_test(self, weights: dict[str, Tensor], train: Batch, test: Batch) -> Terms:
        items = self.write_ahead(weights, train)
        return self.losses(self.look_ahead(weights, test.images, items=items, gumbel=self.gumbel), test)

    def write_ahead(self, weights: dict[str, Tensor], batch: Batch) -> Tensor:
        """The items (S,C) that the network would write at other ``weights``, differentiable in the memory's alone."""
        state = self.stepped_buffers(weights)
        with torch.no_grad():
            features = functional_call(self.net.encoder, scoped(state, "encoder."), (batch.images,)).features
        memory = scoped(state, "memory.")
        arguments = features, batch.labels, memory["items"]
        return functional_call(self.memory, memory, arguments, {"reduce": all_sum})


def scoped(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The part of ``state`` below ``prefix``, by its own names."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
