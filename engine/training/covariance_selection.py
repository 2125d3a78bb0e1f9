"""Selective whitening: the statistics that are taken in the course of a run, and the entries selected by them."""

from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from datasets.images import LabelledImages
from datasets.sampling.view_pairs import view_pair_loader
from datasets.transforms import normalise
from engine import build
from engine.data_report import labelled_images
from engine.options.whitening_flags import selections_due, selects
from loss.covariance import sensitive_entries
from methods import Aggregate
from methods.whitening_term import mean_variances
from utils.distributed import from_first
from utils.processes import rank, world_size

Check = Callable[[], None]  # raises an exception where all is to be left
PICTURE = 256  # pixels a side


class Selection:
    """Selects the covariance entries that a method's ``whitening`` whitens.

    Each pass over the images of a data set is a selection of its own, as in the release: an entry is whitened if all of
    them, ``--trials`` times the data sets, have selected it.
    """

    def __init__(self, args: Namespace) -> None:
        self.args = args
        names = args.covstat_val_dataset if selects(args) else []
        self.sets = [labelled_images(args, name, "val", args.covstat_images) for name in names]
        self.geometry = replace(build.augmentation(args), color_aug=0, gblur=False, bblur=False)

    def due(self, method: Aggregate, iteration: int) -> bool:
        """Whether entries are to be selected after so many iterations, and have not been yet."""
        wanted = selections_due(self.args, iteration)
        return bool(self.sets) and wanted > selections_due(self.args, method.whitening.taken)

    def take(self, method: Aggregate, iteration: int, device: torch.device, *, between: Check, within: Check) -> None:
        """Select entries by the present weights; ``between`` is called after every pass, ``within`` after every image.

        The network runs in single precision, since differences of covariances are small.
        """
        method.net.eval()
        masks: list[Tensor] | None = None
        for trial in range(self.args.trials):
            for number, images in enumerate(self.sets):
                pairs = self.pairs(images, (self.args.seed, iteration, trial, number), device, within)
                variances = mean_variances(method.net.encoder, pairs, method.whitening.selective)
                chosen = from_first(self.entries(variances) if rank() == 0 else None)
                masks = chosen if masks is None else [a & b for a, b in zip(masks, chosen, strict=True)]
                between()
        method.net.train()
        method.whitening.select(masks, iteration, device)

    def pairs(
        self, images: LabelledImages, seeds: tuple[int, ...], device: torch.device, within: Check
    ) -> Iterator[Tensor]:
        """This process's images of a data set in two views each: 2,3,H,W, normalised."""
        mine = range(rank(), len(images), world_size())
        loader = view_pair_loader(images, self.geometry, seeds=seeds, indices=mine, workers=self.args.num_workers)
        told = f"covariances of {images.spec.name}, {seeds[2] + 1} of {self.args.trials}"
        for pair in tqdm(loader, told, leave=False, unit="image", disable=rank() > 0):
            yield normalise(pair.to(device), image_in=self.args.image_in)
            within()

    def entries(self, variances: list[Tensor]) -> list[Tensor]:
        """What one pass selects in each layer: C,C bool, on the CPU."""
        options = {"clusters": self.args.clusters, "relax_denom": self.args.relax_denom}
        return [sensitive_entries(variance, **options) for variance in variances]


def share_picture(mask: Tensor) -> Tensor:
    """A mask (C,C bool) as a picture (3,S,S uint8) of at most 256 pixels a side: white where all is selected."""
    share = F.adaptive_avg_pool2d(mask[None].cpu().float(), min(len(mask), PICTURE))
    return (255 * share).round().to(torch.uint8).expand(3, -1, -1)


def describe(masks: Sequence[Tensor]) -> str:
    """How much of the covariances ``masks`` (C,C bool each) select."""
    counts = ", ".join(f"{int(mask.sum()):,} of {len(mask) * (len(mask) - 1) // 2:,}" for mask in masks)
    return f"covariance entries to whiten: {counts}"
