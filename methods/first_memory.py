"""The memory at the start of training."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F

from datasets.sampling.loaders import Batch
from network.categorical_memory import class_sums
from network.deeplab import DeepLab
from utils.distributed import all_sum
from utils.precision import at_least_single


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
