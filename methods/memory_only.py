"""The categorical memory without meta-learning: written from, and read by, all domains pooled."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F

from datasets.sampling.loaders import Batch
from loss.memory_losses import classification_loss, cohesion_loss, divergence_loss
from methods.aggregate import Aggregate, Terms
from network.categorical_memory import class_sums
from network.deeplab import SegOutput
from utils.distributed import all_sum, share
from utils.precision import at_least_single, full_precision


class MemoryAggregate(Aggregate):
    """The baseline plus the memory's losses; the memory absorbs every batch after the weights were updated.

    L = L_seg + 0.4 L_aux + 0.02 L_coh + 0.4 L_div + 0.2 L_cls, the last two on the memory as this batch would write it.
    """

    def __init__(
        self,
        *args,
        cohesion: float = 0.02,
        divergence: float = 0.4,
        classification: float = 0.2,
        temperature: float = 1.0,
        gumbel: bool = True,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        self.cohesion, self.divergence, self.classification = cohesion, divergence, classification
        self.temperature, self.gumbel = temperature, gumbel
        self.memory = self.net.memory

    def losses(self, out: SegOutput, batch: Batch) -> Terms:
        cohesion = cohesion_loss(out.reading.scores, batch.labels, temperature=self.temperature, reduce=all_sum)
        return super().losses(out, batch) | {"coh": self.cohesion * cohesion}

    def observe(self, batch: Batch) -> Terms:
        out = self.net(batch.images, gumbel=self.gumbel)
        written = self.memory.write(out.features, batch.labels, self.memory.items, reduce=all_sum)
        with full_precision(written.device):
            divergence = divergence_loss(written)
            classification = classification_loss(self.memory.classifier(written))
        return self.losses(out, batch) | {
            "div": share(self.divergence * divergence),
            "cls": share(self.classification * classification),
        }

    @torch.no_grad()
    def after_update(self, batch: Batch) -> None:
        """Store what the updated network writes, with the running statistics of batch norm, as in the release."""
        self.net.eval()
        features = self.net.encoder(batch.images).features
        self.memory.items.copy_(self.memory.write(features, batch.labels, self.memory.items, reduce=all_sum))
        self.net.train()

    @torch.no_grad()
    def initialise_memory(self, batches: Iterable[Batch]) -> None:
        """Set every item to its class's mean feature (unit length) over ``batches``; unseen classes keep their item."""
        self.net.eval()
        items, sums, mass = self.memory.items, 0, 0
        for batch in batches:
            flat = batch.pool()
            features = F.normalize(at_least_single(self.net.encoder(flat.images).features), dim=1)
            batch_sums, batch_mass = class_sums(features, flat.labels, len(items))
            sums, mass = sums + batch_sums, mass + batch_mass
        sums, mass = all_sum(sums), all_sum(mass)
        items.copy_(torch.where(mass > 0, F.normalize(sums, dim=1), items))
        self.net.train()
