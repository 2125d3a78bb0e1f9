"""Several processes select the same covariance entries as one process."""

from argparse import Namespace
from pathlib import Path

import torch
from test_ranks import whitened_method
from torch import Tensor

from engine.options.train_flags import parse_training
from engine.training.covariance_selection import Selection
from support.ranks import run_ranks
from utils.processes import rank, world_size


def selection(args: Namespace) -> list[Tensor]:
    """The masks selected with the demo's images, whose number differs between processes."""
    method = whitened_method(False, False)
    method.net.float()
    calls: list[int] = []
    Selection(args).take(
        method, 3, torch.device("cpu"), between=lambda: calls.append(0), within=lambda: calls.append(1)
    )
    passes, own = 4, len(range(rank(), 2, world_size()))
    assert calls.count(0) == passes and calls.count(1) == passes * own
    assert method.whitening.taken == 3 and method.net.training
    return method.whitening.masks


def test_ranks_select_the_same(data: Path, tmp_path: Path) -> None:
    line = f"--data_root {data} --covstat_val_dataset gtav mapillary --trials 2 --clusters 3 --crop_size 48"
    args = parse_training([*line.split(), "--num_workers", "0", "--wt_reg_weight", "1", "--wt_layer", *"0020000"])
    expected = selection(args)
    assert all(0 < mask.sum() < len(mask) * (len(mask) - 1) / 2 for mask in expected)
    for masks in run_ranks(selection, 3, tmp_path, args):  # one process has no image
        assert all(torch.equal(a, b) for a, b in zip(masks, expected, strict=True))
