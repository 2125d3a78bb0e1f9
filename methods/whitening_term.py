"""Whitening (RobustNet, Choi et al., CVPR 2021) as one more term of any method's losses."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from loss.covariance import relaxation, upper_triangle, view_variance, whitening_loss
from loss.options import SELECTIVE_KIND, WHITENED_KINDS, WhiteningOptions
from network.deeplab import Encoder
from utils.distributed import all_sums
from utils.precision import at_least_single


class Whitening:
    """The mean whitening loss of the whitened layers, times ``weight``.

    ``selective`` has an entry per layer, in their order in the network.  A selective layer whitens the entries in its
    mask, none before there is one.  The others whiten all entries, where these exceed 1 / ``relax_denom`` on average.
    """

    def __init__(self, selective: Sequence[bool], *, weight: float, relax_denom: float = 0) -> None:
        self.selective, self.weight, self.relax_denom = selective, weight, relax_denom
        self.masks: list[Tensor] | None = None  # C,C bool for every selective layer
        self.taken = 0  # the iteration of the last selection

    def __call__(self, maps: Sequence[Tensor], *, images: int | None = None) -> Tensor:
        """This process's share of the loss of the layers' ``maps`` (N,c,y,x); ``images`` as in ``whitening_loss``."""
        masks = iter(self.masks or ())
        total = at_least_single(maps[0].new_zeros(()))
        for x, selective in zip(maps, self.selective, strict=True):
            if not selective:
                margin = relaxation(x.shape[1], self.relax_denom)
                total = total + whitening_loss(x, upper_triangle(x.shape[1], x.device), images=images, margin=margin)
            elif self.masks is not None:
                total = total + whitening_loss(x, next(masks), images=images)
        return self.weight * total / len(self.selective)

    def select(self, masks: Sequence[Tensor], iteration: int, device: torch.device) -> None:
        """Whiten the entries in ``masks`` (C,C bool each) from now on; they were selected after ``iteration``."""
        self.masks, self.taken = [mask.to(device) for mask in masks], iteration

    def state_dict(self) -> dict[str, Any]:
        return {"masks": self.masks, "taken": self.taken}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        if state["masks"] is not None:
            self.select(state["masks"], state["taken"], device)


def whitening_term(options: WhiteningOptions) -> Whitening | None:
    """The term of the network's whitened layers; None without a whitening loss."""
    if not options.active:
        return None
    selective = [kind == SELECTIVE_KIND for kind in options.wt_layer if kind in WHITENED_KINDS]
    return Whitening(selective, weight=options.weight, relax_denom=options.relax_denom)


@torch.no_grad()
def mean_variances(encoder: Encoder, pairs: Iterable[Tensor], selective: Sequence[bool]) -> list[Tensor]:
    """The variance of each covariance entry between the views of an image, averaged over the images of all processes.

    Returns C,C for each ``selective`` layer.  ``pairs`` (V,3,H,W, normalised) are this process's images, maybe none.
    The encoder must be in evaluation mode: otherwise its batch norms would mix the views.
    """
    one = next(encoder.parameters())
    layers = [norm for norm, chosen in zip(encoder.whitening, selective, strict=True) if chosen]
    sums = [one.new_zeros(norm.num_features, norm.num_features) for norm in layers]
    count = one.new_zeros(())
    for pair in pairs:
        maps = [x for x, chosen in zip(encoder(pair).whitened, selective, strict=True) if chosen]
        for total, x in zip(sums, maps, strict=True):
            total += view_variance(x)
        count += 1
    *sums, count = all_sums([*sums, count], like=[*sums, count])
    return [total / count for total in sums]
