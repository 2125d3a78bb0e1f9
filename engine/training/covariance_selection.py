"""Selective whitening: statistics during a run, and the covariance entries that they select."""

from collections.abc import Callable, Iterator
from dataclasses import asdict

import torch
from torch import Tensor
from tqdm import tqdm

from datasets.images import LabelledImages
from datasets.sampling.loaders import view_pair_loader
from datasets.transforms import Augmentation, normalise
from engine.options.training_options import TrainingOptions
from loss.covariance import sensitive_entries
from methods.method import Method
from methods.whitening_term import mean_variances
from utils.distributed import from_first
from utils.log import log
from utils.processes import rank, world_size

Leave = Callable[..., None]  # ``Trainer.leave``


class CovarianceSelection:
    """Selects the covariance entries that a method whitens.

    Each pass over the images of a data set is a selection of its own, as in the authors' release.  An entry is whitened
    if all passes select it: ``trials`` passes over each data set.
    """

    def __init__(self, options: TrainingOptions) -> None:
        whitening = options.whitening
        self.whitening, self.seed = whitening, options.run.seed
        self.workers, self.image_in = options.machine.workers, options.network.image_in
        names = whitening.datasets if whitening.selective else ()
        self.sets = [options.data.images(name, "val", whitening.images) for name in names]
        colours = {"color_aug": 0, "gblur": False, "bblur": False}
        self.geometry = Augmentation(**asdict(options.augmentation) | colours)

    def take(self, method: Method, iteration: int, device: torch.device, *, leave: Leave) -> None:
        """Select entries by the present weights; call ``leave`` after every pass and, ``alone``, after every image.

        The network runs in single precision: differences of covariances are small.
        """
        term, whitening = method.objective.whitening, self.whitening
        method.net.eval()
        masks: list[Tensor] | None = None
        for trial in range(whitening.trials):
            for number, images in enumerate(self.sets):
                pairs = self.pairs(images, (self.seed, iteration, trial, number), device, leave)
                variances = mean_variances(method.net.encoder, pairs, term.selective)
                selected = None
                if rank() == 0:
                    settings = {"clusters": whitening.clusters, "relax_denom": whitening.relax_denom}
                    selected = [sensitive_entries(variance, **settings) for variance in variances]
                selected = from_first(selected)
                masks = selected if masks is None else [a & b for a, b in zip(masks, selected, strict=True)]
                leave()
        method.net.train()
        term.select(masks, iteration, device)
        counts = ", ".join(f"{int(mask.sum()):,} of {len(mask) * (len(mask) - 1) // 2:,}" for mask in masks)
        log.info(f"{iteration}: covariance entries to whiten: {counts}")

    def pairs(
        self, images: LabelledImages, seeds: tuple[int, ...], device: torch.device, leave: Leave
    ) -> Iterator[Tensor]:
        """This process's images of a data set in two views each: 2,3,H,W, normalised."""
        mine = range(rank(), len(images), world_size())
        where = {"workers": self.workers, "device": device.type}
        loader = view_pair_loader(images, self.geometry, seeds=seeds, indices=mine, **where)
        title = f"covariances of {images.spec.name}, {seeds[2] + 1} of {self.whitening.trials}"
        for pair in tqdm(loader, title, leave=False, unit="image", disable=rank() > 0):
            yield normalise(pair.to(device, non_blocking=True), image_in=self.image_in)
            leave(alone=True)
