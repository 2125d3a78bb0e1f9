"""Several processes whiten and select as one process with all images."""

from pathlib import Path

import torch
from test_ranks import IMAGES, SIDE, FourStages, joint_batch, part
from torch import Tensor

from engine.options.training_command import parse_training
from engine.options.training_options import TrainingOptions
from engine.training.covariance_selection import CovarianceSelection
from loss.covariance import sensitive_entries
from methods import METHODS
from methods.method import Method
from methods.whitening_term import Whitening, mean_variances
from network.instance_norms import WhiteningNorm
from support.ranks import run_ranks, small_method
from utils.distributed import all_sum, from_first
from utils.processes import rank, world_size

SELECTIVE = [True, False, True]
FIRST_AND_LAST = ["baseline", "pinmem"]  # one batch at once; two passes and a memory


class WhitenedStages(FourStages):
    """With whitening norms behind the first three stages."""

    def __init__(self) -> None:
        super().__init__()
        for stage, channels in zip(self.stages, self.channels[:3], strict=False):
            stage.append(WhiteningNorm(channels))


def method_of(name: str) -> Method:
    term = Whitening(SELECTIVE, weight=2.0, relax_denom=4)
    return small_method(WhitenedStages, name, whitening=term)


def view_pairs() -> list[Tensor]:
    """This process's share of seven images in two views."""
    generator = torch.Generator().manual_seed(1)
    plain = torch.randn(7, 1, 3, SIDE, SIDE, dtype=torch.float64, generator=generator)
    pairs = torch.cat([plain, plain + torch.randn(plain.shape, dtype=torch.float64, generator=generator)], dim=1)
    return list(pairs[rank() :: world_size()])


def train(name: str, per_rank: int) -> dict[str, Tensor]:
    """The variances and masks after one iteration, and the state and the losses after two."""
    method = method_of(name)
    own = slice(rank() * per_rank, (rank() + 1) * per_rank) if world_size() > 1 else slice(None)
    found = {}
    for iteration in range(2):
        terms = method.step(part(joint_batch(iteration, per_rank), own))
        found |= {f"{iteration} {name}": all_sum(term) for name, term in terms.items()}
        if iteration == 0:
            variances = mean_variances(method.net.eval().encoder, view_pairs(), SELECTIVE)
            masks = from_first([sensitive_entries(variance, clusters=3) for variance in variances])
            method.objective.whitening.select(masks, 1, torch.device("cpu"))
            method.net.train()
            for k, (variance, mask) in enumerate(zip(variances, masks, strict=True)):
                found |= {f"variance {k}": variance, f"mask {k}": mask.double()}
    return method.net.state_dict() | found


def train_all(per_rank: int) -> list[dict[str, Tensor]]:
    return [train(name, per_rank) for name in FIRST_AND_LAST]


def test_ranks_whiten_as_one_process(tmp_path: Path) -> None:
    ranks = run_ranks(train_all, 2, tmp_path, IMAGES // 2)
    for name, expected in zip(FIRST_AND_LAST, train_all(IMAGES // 2), strict=True):
        whitening = [value for key, value in expected.items() if key.endswith("whitening")]
        assert len(whitening) == (4 if METHODS[name].mldg else 2) and min(whitening) > 0
        assert [0 < expected[f"mask {k}"].sum() < full for k, full in enumerate((8 * 7 / 2, 16 * 15 / 2))] == [True] * 2
        for results in (found[FIRST_AND_LAST.index(name)] for found in ranks):
            assert results.keys() == expected.keys()
            for key, value in expected.items():
                difference = (results[key] - value).abs().max() / value.abs().max().clamp_min(1e-3)
                assert difference < 1e-9, f"{name} {key}: {difference:.1e}"


def selection(options: TrainingOptions) -> list[Tensor]:
    """The masks selected by the demo's images; the processes have unlike numbers of these."""
    method = method_of("baseline")
    method.net.float()
    calls: list[int] = []
    CovarianceSelection(options).take(
        method, 3, torch.device("cpu"), leave=lambda *, alone=False: calls.append(int(alone))
    )
    passes, own = 4, len(range(rank(), 2, world_size()))
    assert calls.count(0) == passes and calls.count(1) == passes * own
    assert method.objective.whitening.taken == 3 and method.net.training
    return method.objective.whitening.masks


def test_ranks_select_the_same(data: Path, tmp_path: Path) -> None:
    line = f"--data_root {data} --covstat_val_dataset gtav mapillary --trials 2 --relax_denom 2 --crop_size 48"
    options = parse_training([*line.split(), "--num_workers", "0", "--wt_reg_weight", "1", "--wt_layer", *"0020000"])
    expected = selection(options)
    assert all(0 < mask.sum() < len(mask) * (len(mask) - 1) / 2 for mask in expected)
    for masks in run_ranks(selection, 3, tmp_path, options):  # one of them has no image
        assert all(torch.equal(a, b) for a, b in zip(masks, expected, strict=True))
