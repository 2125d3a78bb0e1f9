"""Images in two views that differ in their colours and sharpness only."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from datasets.images import LabelledImages
from datasets.sampling.worker_loader import one_by_one
from datasets.transforms import HARD, Augmentation, blur, jitter, to_tensor
from utils.seeds import seed_of


def view_pair(images: LabelledImages, geometry: Augmentation, seeds: Sequence[int], index: int) -> Tensor:
    """An image, cropped by ``geometry``, in two views: 2,3,H,W uint8.

    The first view is strongly jittered and blurred, the second is not.
    """
    image, label, _ = images[index]
    rng = np.random.default_rng(seed_of(*seeds, index))
    plain, _ = geometry(image, label, rng)
    return torch.stack([to_tensor(blur(jitter(plain, rng, HARD), rng)), to_tensor(plain)])


def view_pair_loader(
    images: LabelledImages, geometry: Augmentation, *, seeds: Sequence[int], indices: Sequence[int], workers: int = 0
) -> DataLoader:
    """The ``view_pair`` of each of ``indices``.  Everything random is a function of ``seeds`` and the index."""
    return one_by_one(partial(view_pair, images, geometry, seeds), indices, workers)
