"""Images in two views that differ in their colours and sharpness only."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datasets.images import LabelledImages
from datasets.sampling.worker_loader import one_by_one
from datasets.transforms import HARD, Augmentation, blur, jitter, to_tensor
from utils.seeds import seed_of


@dataclass(frozen=True)
class _ViewPairs(Dataset):
    images: LabelledImages
    geometry: Augmentation
    seeds: Sequence[int]

    def __getitem__(self, index: int) -> Tensor:
        image, label, _ = self.images[index]
        rng = np.random.default_rng(seed_of(*self.seeds, index))
        plain, _ = self.geometry(image, label, rng)
        return torch.stack([to_tensor(blur(jitter(plain, rng, HARD), rng)), to_tensor(plain)])


def view_pair_loader(
    images: LabelledImages, geometry: Augmentation, *, seeds: Sequence[int], indices: Sequence[int], workers: int = 0
) -> DataLoader:
    """For each of ``indices`` an image, cropped by ``geometry``, in two views: 2,3,H,W uint8.

    The first view is strongly jittered and blurred, the second is not.  Everything random is a function of ``seeds``
    and the index.
    """
    return one_by_one(_ViewPairs(images, geometry, seeds), indices, workers)
