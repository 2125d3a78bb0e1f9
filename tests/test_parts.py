"""A batch in parts equals the whole one, and activations that are computed again equal those that were kept."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ranks import run_ranks, small_method
from test_ranks import IMAGES, KINDS, LOSSES, FourStages, joint_batch, part
from test_whitening_ranks import SELECTIVE, WhitenedStages
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from engine import build
from engine.objective import pixel_losses
from engine.plan import footprint
from engine.resume import refuse_changes
from engine.train_flags import parse_training
from engine.training import start_network
from methods import Aggregate
from methods.whitening import Whitening
from network.backbones import Backbone
from network.layer_norms import WhiteningNorm
from network.norms import JointBatchNorm2d
from utils.distributed import all_sum, rank, world_size
from utils.errors import UsageError

CPU = torch.device("cpu")
PER_RANK = IMAGES // 2
LINES = ["", *LOSSES, "--jointwtborder --rlx_off_iter 1 --cls_wt_loss"]


def differences(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    assert found.keys() == expected.keys()
    return max(
        ((found[key] - value).abs().max() / value.abs().max().clamp_min(1e-3)).item() for key, value in expected.items()
    )


def whitening() -> Whitening:
    term = Whitening(SELECTIVE, weight=2.0, relax_denom=4)
    masks = [torch.rand(c, c, generator=torch.Generator().manual_seed(c)).triu(1) > 0.5 for c in (8, 16)]
    term.select(masks, 1, CPU)
    return term


def train(line: str, mldg: bool, parts: int) -> dict[str, Tensor]:
    """The state and the losses of two iterations in which batch norms go by their running statistics."""
    losses = pixel_losses(parse_training(line.split()), SimpleNamespace(last_epoch=0), classes=19)
    options = {**losses, "whitening": whitening(), "parts": parts}
    method = small_method(WhitenedStages, mldg=mldg, memory=False, **options)
    for module in method.net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    own = slice(rank() * PER_RANK, (rank() + 1) * PER_RANK) if world_size() > 1 else slice(None)
    found = {}
    for iteration in range(2):
        terms = method.step(part(joint_batch(iteration, PER_RANK), own))
        assert not any(term.requires_grad for term in terms.values())
        found |= {f"{iteration} {name}": all_sum(term) for name, term in terms.items()}
    return method.net.state_dict() | found


@pytest.mark.parametrize("mldg", [False, True])
@pytest.mark.parametrize("line", LINES)
def test_parts_equal_the_whole_batch(line: str, mldg: bool) -> None:
    whole = train(line, mldg, parts=1)
    assert {name.rpartition("/")[2].split()[-1] for name in whole if name[0] in "01"} == {"seg", "aux", "whitening"}
    for parts in (2, 3, 6):
        assert differences(train(line, mldg, parts), whole) < 1e-9


def train_all(parts: int) -> list[dict[str, Tensor]]:
    return [train("--img_wt_loss --batch_weighting", mldg, parts) for mldg in (False, True)]


def test_parts_of_ranks_equal_one_process(tmp_path: Path) -> None:
    whole = train_all(1)
    for results in run_ranks(train_all, 2, tmp_path, 3):
        assert max(map(differences, results, whole)) < 1e-9


def test_every_domain_is_in_every_part() -> None:
    batch = joint_batch(0, PER_RANK)
    names = torch.arange(2).view(2, 1, 1, 1, 1).expand(2, IMAGES, 3, 1, 1)
    for chosen in batch._replace(images=names).pool().parts(3):
        assert chosen.images[:, 0, 0, 0].tolist() == [0, 0, 1, 1] and len(chosen.labels) == 4
        assert len(chosen.whole) == 2 * IMAGES


WT_LAYER = (0, 0, 2, 5, 4, 1, 0)  # of every kind


def step_twice(mldg: bool, memory: bool, recompute: bool, norm: type[nn.BatchNorm2d] | None = None) -> tuple:
    """State and losses after two iterations, what the graphs kept of a backbone, and how often it ran."""

    def backbone() -> Backbone:
        made = Backbone("resnet18", 16, wt_layer=WT_LAYER)
        made.recompute = recompute
        return made

    term = Whitening([True, False], weight=2.0)
    term.select([torch.ones(64, 64, dtype=torch.bool).triu(1)], 1, CPU)
    parts = 1 if memory else 2
    method = small_method(backbone, mldg=mldg, memory=memory, whitening=term, parts=parts, inner_lr=0.1)
    runs: list[int] = []
    method.net.encoder.backbone.stages[0].register_forward_hook(lambda *_: runs.append(1))
    kept: list[int] = []

    def keep(x: Tensor) -> Tensor:
        kept.append(x.numel())
        return x

    found = {}
    with saved_tensors_hooks(keep, lambda x: x):
        for iteration in range(2):
            batch = part(joint_batch(iteration, PER_RANK), slice(0, 2))
            found |= {f"{iteration} {name}": value for name, value in method.step(batch).items()}
    norms = [module for module in method.net.modules() if isinstance(module, WhiteningNorm)]
    assert len(norms) == 2 and all(norm.normalised is None for norm in norms)
    return method.net.state_dict() | found, sum(kept), len(runs)


@pytest.mark.parametrize(("mldg", "memory"), KINDS)
def test_recomputed_activations_equal_kept_ones(mldg: bool, memory: bool) -> None:
    expected, much, passes = step_twice(mldg, memory, False)
    found, little, twice = step_twice(mldg, memory, True)
    assert differences(found, expected) < 1e-12
    without_gradient = 2 * (memory + (memory and mldg))
    assert twice - without_gradient == 2 * (passes - without_gradient)
    assert little < much / 2


def recompute_in_ranks(recompute: bool) -> dict[str, Tensor]:
    found, _, _ = step_twice(True, False, recompute)
    return found


def test_recomputed_activations_in_ranks(tmp_path: Path) -> None:
    kept, again = (run_ranks(recompute_in_ranks, 2, tmp_path, recompute) for recompute in (False, True))
    assert max(map(differences, again, kept)) < 1e-12


def test_flags_reach_their_places() -> None:
    line = "--accumulate 2 --bs_mult 4 --checkpoint_activations --arch DeepR18V3PlusD --pretrained_backbone none"
    args = parse_training(line.split())
    config = {"arch": args.arch, "num_classes": 19, "memory": None}
    net = start_network(args, config, CPU)
    assert net.encoder.backbone.recompute and build.method_from(args, net).parts == 2
    assert "2 per batch, of 2 images per domain" in "\n".join(footprint(args))
    assert "computed again" in "\n".join(footprint(args))
    args = parse_training(line.split()[5:])
    net = start_network(args, config, CPU)
    assert not net.encoder.backbone.recompute and build.method_from(args, net).parts == 1
    assert not list(footprint(args))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--accumulate 3 --bs_mult 4", "--accumulate 3: does not divide --bs_mult 4"),
        ("--accumulate 2 --memory", "--accumulate 2: the memory is written from a whole batch"),
        ("--accumulate 2 --memory --mldg --dataset gtav synthia", "drop --accumulate"),
        ("--accumulate 0", "0: give a whole number"),
    ],
)
def test_parts_that_are_refused(line: str, told: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse_training(line.split())
    printed = capsys.readouterr().err
    assert stopped.value.code == 2 and told in printed and printed.count("\n") == 1


def test_a_run_keeps_its_parts(tmp_path: Path) -> None:
    before = vars(parse_training([])) | {"checkpoint": tmp_path / "iteration_000002.pth"}
    refuse_changes(parse_training(["--checkpoint_activations"]), before)
    with pytest.raises(UsageError, match=r"--accumulate: .* was started with 1, not 2"):
        refuse_changes(parse_training(["--accumulate", "2", "--bs_mult", "4"]), before | {"bs_mult": 4})
