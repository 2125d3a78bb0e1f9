"""Pictures of a memory: how alike its items are, and the pixels that are nearest to them."""

import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from loss.segmentation import nearest
from utils.files import whole_file
from utils.pictures import GAP, contact_sheet, save_picture

SIDE, MOST = 96, 8  # pixels of a patch; patches of an item
BEYOND = 210  # the grey around an image
WRITTEN = 40  # items, up to which the similarity is written as a number, too


class Patch(NamedTuple):
    """A pixel and the part of its image around it."""

    item: int  # the nearest one
    cosine: float  # between the pixel's feature and that item
    order: tuple[int, int]  # of the image: of its domain and within it
    pixels: np.ndarray  # SIDE,SIDE,3 uint8; grey beyond the image


def nearest_patches(scores: Tensor, image: Tensor, *, order: tuple[int, int]) -> list[Patch]:
    """Per item the patch of ``image`` (3,H,W uint8) at the pixel with the highest score among those nearest to it.

    ``scores`` (S,h,w) are cosines between pixels and items.  Items to which no pixel is nearest have no patch.
    """
    own = scores.argmax(dim=0) == torch.arange(len(scores), device=scores.device)[:, None, None]
    cosines, places = torch.where(own, scores, -math.inf).flatten(1).max(dim=1)
    rows, columns = (nearest(image.shape[axis], scores.shape[axis], image.device).tolist() for axis in (-2, -1))
    padded = F.pad(image, (SIDE // 2,) * 4, value=BEYOND)
    patches = []
    for item, (cosine, place) in enumerate(zip(cosines.tolist(), places.tolist(), strict=True)):
        if cosine > -math.inf:
            top, left = rows[place // len(columns)], columns[place % len(columns)]
            pixels = padded[:, top : top + SIDE, left : left + SIDE].permute(1, 2, 0).numpy().copy()
            patches.append(Patch(item, cosine, order, pixels))
    return patches


def best_patches(patches: Iterable[Patch]) -> list[Patch]:
    """The patches with the highest cosines, at most ``MOST`` of each item, in the order of items and cosines."""
    ordered = sorted(patches, key=lambda patch: (patch.item, -patch.cosine, patch.order))
    return [patch for _, group in groupby(ordered, key=lambda patch: patch.item) for patch in list(group)[:MOST]]


def draw_patches(path: Path, patches: Iterable[Patch], names: Sequence[str]) -> None:
    """Write a row of patches for each item, the nearest first."""
    width = MOST * (SIDE + GAP) - GAP
    rows = {name: np.full((SIDE, width, 3), 255, np.uint8) for name in names}
    for item, group in groupby(patches, key=lambda patch: patch.item):
        for place, patch in enumerate(group):
            left = place * (SIDE + GAP)
            rows[names[item]][:, left : left + SIDE] = patch.pixels
    save_picture(path, contact_sheet(rows, columns=1, width=width))


def draw_similarity(path: Path, cosines: np.ndarray, names: Sequence[str]) -> None:
    """Write the cosines (S,S) between the items as a matrix of colours and numbers."""
    side = min(3 + 0.42 * len(names), 20)
    figure = Figure(figsize=(side + 1, side), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    picture = axes.imshow(cosines, cmap="RdBu_r", vmin=-1, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(labelsize=min(10, 900 / len(names)))  # points, so that names do not touch
    figure.colorbar(picture, shrink=0.6, label="cosine between two items")
    if len(names) <= WRITTEN:
        for (row, column), cosine in np.ndenumerate(cosines):
            colour = "white" if abs(cosine) > 0.6 else "black"
            axes.text(column, row, f"{cosine:.2f}", ha="center", va="center", fontsize=6.5, color=colour)
    with whole_file(path) as partial:
        figure.savefig(partial, format="png")
