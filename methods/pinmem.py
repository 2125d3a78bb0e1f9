"""Pin the Memory (Kim et al., CVPR 2022, section 3 and algorithm 1)."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from datasets.sampling.loaders import Batch
from loss.memory_losses import classification_loss, cohesion_loss, divergence_loss
from methods.memory_health import health_of, read_sums
from methods.method import Method, by_stage, call_with, meta_parts
from methods.objective import Terms
from network.categorical_memory import class_sums
from network.deeplab import DeepLab, SegOutput
from utils.distributed import all_sum, share
from utils.precision import at_least_single, full_precision


class PinMem(Method):
    """MLDG in which the meta-test domains read a memory that was written from the meta-train domains.

    w are all weights: encoder, memory networks, decoder.  M are the memory's items (S,C).  write(M, D; w) is M moved
    towards the mean features of the domains D.  read(D; M, w) are the features of D, refined by M.

        L_read(w, M; D)  = L_seg + 0.4 L_aux + cohesion * L_coh                    of read(D; M, w)
        L_write(w, M; D) = divergence * L_div + classification * L_cls             of write(M, D; w)

        1. g_train = d [L_read(w, M; meta-train) + L_write(w, M; meta-train)] / dw
        2. w'      = w - a g_train                                                 look ahead
        3. M'      = write(M, meta-train; w')                                      pin the memory
        4. g_test  = d L_read(w', M'; meta-test) / dw'                             unseen domains read it
        5. w      <- SGD(w, g_train + g_test)                                      first order
        6. M      <- write(M, meta-train; w)                                       absorb

    In 4 the gradient flows through M' as well, but only to the memory's update network: the features that M' is written
    from are constants.  In 6 batch norm uses its running statistics, as in the authors' release.
    """

    def step(self, batch: Batch) -> Terms:
        train, test = meta_parts(batch, self.options.meta_split)
        inner, train_grads = self.accumulate(train, self.read_and_write_losses)
        ahead = self.look_ahead(train_grads)
        items = self.write_at(ahead, train)
        outer, test_grads = self.accumulate(test, lambda part: self.reading_losses_at(ahead, items, part))
        self.apply(train_grads, test_grads, mean=self.options.meta_mean)
        self.absorb(train)
        return by_stage(inner, outer)

    def read_and_write_losses(self, batch: Batch) -> Terms:
        """L_read and L_write at the present weights and items."""
        memory = self.net.memory
        out = self.net(batch.images, gumbel=self.options.gumbel)
        written = memory.compared(memory.write(out.features, batch.labels, memory.items))
        with full_precision(written.device):
            divergence = divergence_loss(written)
            classification = classification_loss(memory.classifier(written))
        return self.reading_losses(out, batch) | {
            "div": share(self.options.divergence * divergence),
            "cls": share(self.options.classification * classification),
        }

    def reading_losses(self, out: SegOutput, batch: Batch) -> Terms:
        """L_read of a network's output."""
        cohesion = cohesion_loss(out.reading.scores, batch.labels, temperature=self.options.temperature)
        return self.objective(out, batch) | {"coh": self.options.cohesion * cohesion}

    def write_at(self, state: dict[str, Tensor], batch: Batch) -> Tensor:
        """M' (S,C), written by the network in another state.  A call of the memory is a write."""
        with torch.no_grad():
            features = call_with(self.net.encoder, state, batch.images, prefix="encoder.").features
        items = state["memory.items"]
        return call_with(self.net.memory, state, features, batch.labels, items, prefix="memory.")

    def reading_losses_at(self, state: dict[str, Tensor], items: Tensor, batch: Batch) -> Terms:
        """L_read of the network in another state, which reads ``items`` instead of its own."""
        out = call_with(self.net, state, batch.images, items=items, gumbel=self.options.gumbel)
        return self.reading_losses(out, batch)

    @torch.no_grad()
    def absorb(self, batch: Batch) -> None:
        """Store what the updated network writes."""
        memory = self.net.memory
        self.net.eval()
        features = self.net.encoder(batch.images).features
        memory.items.copy_(memory.write(features, batch.labels, memory.items))
        self.net.train()
        self.absorbed = features, batch.labels

    def health(self) -> dict[str, float]:
        """The state of the memory, measured on this process's images that were written last."""
        self.net.eval()
        values = health_of(self.net.memory, read_sums(self.net.memory, *self.absorbed))
        self.net.train()
        return values


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


@torch.no_grad()
def write_first_memory(net: DeepLab, batches: Iterable[Batch]) -> None:
    """Set every item of the memory to the mean unit feature of its class over ``batches``, at unit length.

    A class that no batch shows keeps its random item.
    """
    net.eval()
    items, sums, mass = net.memory.items, 0, 0
    for batch in batches:
        flat = batch.pool()
        features = F.normalize(at_least_single(net.encoder(flat.images).features), dim=1)
        batch_sums, batch_mass = class_sums(features, flat.labels, len(items))
        sums, mass = sums + batch_sums, mass + batch_mass
    sums, mass = all_sum(sums), all_sum(mass)
    items.copy_(torch.where(mass > 0, F.normalize(sums, dim=1), items))
    net.train()
