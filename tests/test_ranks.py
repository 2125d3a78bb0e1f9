"""Several processes compute the same as one process with all images: weights, statistics, memory, losses."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from datasets.sampling.loaders import Batch
from engine.options.training_command import parse_training
from methods import METHODS
from methods.objective import Objective
from methods.pinmem import write_first_memory
from network.deeplab import conv_norm
from support.methods import NAMES
from support.ranks import run_ranks, small_method
from utils.distributed import all_sum, start
from utils.errors import UsageError
from utils.log import log
from utils.processes import rank, world_size

LOSSES = [
    "--cls_wt_loss",
    "--img_wt_loss",
    "--img_wt_loss --batch_weighting",
    "--jointwtborder --strict_bdr_cls 5,6,7",
    "--jointwtborder --img_wt_loss --batch_weighting --wt_bound 2",
    "--logit_adjust 0.5",
]
IMAGES, SIDE, ONLY_HERE = 6, 33, 7  # per domain; a class that only one rank sees


@pytest.mark.parametrize("processes", [None, "", "1"])
def test_a_lone_rank_is_the_first(processes: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise nobody would write the files."""
    monkeypatch.setenv("RANK", "1")
    if processes is not None:
        monkeypatch.setenv("WORLD_SIZE", processes)
    assert (rank(), world_size()) == (0, 1)


def test_processes_without_a_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(
        UsageError, match=r"WORLD_SIZE=2: .* RANK expected, but not set; start by torchrun, or unset it"
    ):
        start(torch.device("cpu"))


def test_all_processes_name_what_only_they_have_met(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    log.warning("common")
    log.error("own")
    assert capsys.readouterr().err == "own\n"


def joint_batch(iteration: int, per_rank: int) -> Batch:
    """Two domains; 40 % of the first rank's pixels are ignored, none of the other ranks'."""
    generator = torch.Generator().manual_seed(iteration)
    images = torch.randn(2, IMAGES, 3, SIDE, SIDE, dtype=torch.float64, generator=generator)
    images = images + torch.arange(IMAGES)[:, None, None, None]  # ranks differ in their statistics
    labels = torch.randint(0, 19, (2, IMAGES, 11, 11), generator=generator)
    labels = labels.repeat_interleave(3, dim=2).repeat_interleave(3, dim=3)
    labels[:, per_rank:][labels[:, per_rank:] == ONLY_HERE] = 0
    labels[:, 0, :12, :12] = ONLY_HERE
    ignored = torch.rand(2, per_rank, SIDE, SIDE, generator=generator) < 0.4
    labels[:, :per_rank][ignored] = 255
    return Batch(images, labels, torch.tensor([iteration % 2 == 0, iteration % 2 == 1]))


class FourStages(nn.Module):
    """A backbone that trains in double precision within a second."""

    channels, low_scale, multiple = (8, 8, 16, 16), 1, 1

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            conv_norm(cin, cout, 3) for cin, cout in zip((3, 8, 8, 16), self.channels, strict=True)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        x, maps = nn.functional.avg_pool2d(images, 4, ceil_mode=True), []
        for stage in self.stages:
            maps.append(x := stage(x))
        return maps


def train(name: str, per_rank: int, device: str = "cpu") -> dict[str, Tensor]:
    """The state after two iterations, and the sums of the losses over the ranks."""
    method = small_method(FourStages, name, device=device)
    own = slice(rank() * per_rank, (rank() + 1) * per_rank) if world_size() > 1 else slice(None)
    found = {}
    if METHODS[name].memory:
        write_first_memory(method.net, [part(joint_batch(9, per_rank), own, device)])
        found["first memory"] = method.net.memory.items.clone()
    for iteration in range(2):  # each domain is meta-test once
        terms = method.step(part(joint_batch(iteration, per_rank), own, device))
        found |= {f"{iteration} {name}": all_sum(term) for name, term in terms.items()}
    return {key: value.cpu() for key, value in (method.net.state_dict() | found).items()}


def part(batch: Batch, own: slice, device: str = "cpu") -> Batch:
    return Batch(batch.images[:, own].to(device), batch.labels[:, own].to(device), batch.meta_test)


def chosen_losses(per_rank: int) -> dict[str, Tensor]:
    """Each segmentation loss and its gradient, summed over the ranks."""
    own = slice(rank() * per_rank, (rank() + 1) * per_rank) if world_size() > 1 else slice(None)
    batch, found = joint_batch(0, per_rank), {}
    for flags in LOSSES:
        logits = batch.images.repeat(1, 1, 7, 1, 1)[:, :, :19].requires_grad_()
        objective = Objective(parse_training(flags.split()).segmentation, pixels=torch.zeros(19, dtype=torch.int64))
        objective.count(batch.labels[:, own])
        loss = objective.segmentation(logits[:, own].flatten(0, 1), batch.labels[:, own].flatten(0, 1))
        found[flags] = all_sum(loss.detach())
        found[f"gradient of {flags}"] = all_sum(torch.autograd.grad(loss, logits)[0])
    return found


def train_all(per_rank: int) -> list[dict[str, Tensor]]:
    return [*(train(name, per_rank) for name in NAMES), chosen_losses(per_rank)]


@pytest.mark.parametrize("world", [3, pytest.param(2, marks=pytest.mark.slow)])
def test_ranks_equal_one_process(world: int, tmp_path: Path) -> None:
    ranks = run_ranks(train_all, world, tmp_path, IMAGES // world)
    for kind, expected in enumerate(train_all(IMAGES // world)):
        for results in ranks:
            assert results[kind].keys() == expected.keys()
            for key, value in expected.items():
                # A bias before a batch norm has only rounding noise as its gradient: hence the least scale.
                difference = (results[kind][key] - value).abs().max() / value.abs().max().clamp_min(1e-3)
                assert difference < 1e-9, f"{[*NAMES, 'losses'][kind]} {key}: {difference:.1e}"
