"""The categorical memory without meta-learning: all domains pooled write it and read it."""

import torch

from datasets.sampling.loaders import Batch
from loss.memory_losses import classification_loss, cohesion_loss, divergence_loss
from methods.method import Method, detached
from methods.objective import Terms
from utils.distributed import all_sum, share
from utils.precision import full_precision


class MemoryOnly(Method):
    """The baseline with a memory.  Its losses are those of ``methods.pinmem``, all on the same pooled batch D:

    g  = d [L_read(w, M; D) + L_write(w, M; D)] / dw
    w <- SGD(w, g)
    M <- write(M, D; w)
    """

    def step(self, batch: Batch) -> Terms:
        batch = batch.pool()
        terms = self.losses(batch)
        grads = self.gradients(terms)
        terms = detached(terms)
        self.apply(grads)
        self.absorb(batch)
        self.scheduler.step()
        return terms

    def losses(self, batch: Batch) -> Terms:
        memory, options = self.net.memory, self.options
        out = self.net(batch.images, gumbel=options.gumbel)
        written = memory.write(out.features, batch.labels, memory.items, reduce=all_sum)
        cohesion = cohesion_loss(out.reading.scores, batch.labels, temperature=options.temperature, reduce=all_sum)
        with full_precision(written.device):
            divergence = divergence_loss(written)
            classification = classification_loss(memory.classifier(written))
        return self.objective(out, batch) | {
            "coh": options.cohesion * cohesion,
            "div": share(options.divergence * divergence),
            "cls": share(options.classification * classification),
        }

    @torch.no_grad()
    def absorb(self, batch: Batch) -> None:
        """Store what the updated network writes, with batch norm's running statistics, as in the authors' release."""
        memory = self.net.memory
        self.net.eval()
        features = self.net.encoder(batch.images).features
        memory.items.copy_(memory.write(features, batch.labels, memory.items, reduce=all_sum))
        self.net.train()
