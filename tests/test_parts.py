"""A batch in parts equals the whole one, and activations that are computed again equal those that were kept."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from test_ranks import IMAGES, LOSSES, joint_batch, part
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from engine import build
from engine.options.resuming import refuse_changes
from engine.options.training_command import parse_training
from engine.training.run import start_network
from methods import METHODS
from methods.objective import Objective
from methods.whitening_term import Whitening
from network.backbones import Backbone
from network.deeplab import SegOutput
from network.instance_norms import WhiteningNorm
from network.recomputing import recompute_in_backward
from optimizer.schedules import OptimizerOptions
from support.methods import NAMES, method_on
from support.mistakes import training_mistake
from support.ranks import run_ranks, small_method
from support.tiny_network import CLASSES, DIM
from utils.distributed import all_sum
from utils.errors import UsageError
from utils.processes import rank, world_size

CPU = torch.device("cpu")
PER_RANK = IMAGES // 2
LINES = ["", *LOSSES, "--jointwtborder --rlx_off_iter 1 --cls_wt_loss"]


def differences(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    assert found.keys() == expected.keys()
    return max(
        ((found[key] - value).abs().max() / value.abs().max().clamp_min(1e-3)).item() for key, value in expected.items()
    )


class WhitenedNet(nn.Module):
    """Two maps to whiten, an auxiliary head, and a batch norm that goes by its running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, DIM, 3, stride=4), nn.BatchNorm2d(DIM).eval(), nn.Tanh())
        self.norms = nn.ModuleList([WhiteningNorm(DIM), WhiteningNorm(DIM)])
        self.body = nn.Conv2d(DIM, DIM, 3, padding=1)
        self.heads = nn.ModuleList(nn.Conv2d(DIM, CLASSES, 1) for _ in range(2))

    def forward(self, images: Tensor) -> SegOutput:
        middle = self.norms[0](self.stem(images))
        last = self.norms[1](self.body(middle))
        whitened = [norm.take() for norm in self.norms]
        return SegOutput(self.heads[1](last), images.shape[-2:], self.heads[0](middle), last, whitened=whitened)


def train(line: str, name: str, parts: int) -> dict[str, Tensor]:
    """The state and the losses of two iterations in which batch norms go by their running statistics."""
    torch.manual_seed(0)
    net = WhitenedNet().double()
    term = Whitening([True, False], weight=2.0, relax_denom=4)
    term.select([torch.rand(DIM, DIM).triu(1) > 0.5], 1, CPU)
    loss = parse_training(line.split()).segmentation
    pixels = torch.zeros(19, dtype=torch.int64)
    objective = Objective(loss, whitening=term, scheduler=SimpleNamespace(last_epoch=0), pixels=pixels)
    optimizer = OptimizerOptions(lr=0.1, exponent=9, horizon=100)
    method = method_on(net, name, optimizer=optimizer, objective=objective, parts=parts, inner_lr=0.1)
    own = slice(rank() * PER_RANK, (rank() + 1) * PER_RANK) if world_size() > 1 else slice(None)
    found = {}
    for iteration in range(2):
        batch = part(joint_batch(iteration, PER_RANK), own)
        objective.count(batch.labels)
        terms = method.step(batch)
        assert not any(term.requires_grad for term in terms.values())
        found |= {f"{iteration} {name}": all_sum(term) for name, term in terms.items()}
    return net.state_dict() | found


@pytest.mark.parametrize("name", ["baseline", "mldg"])
@pytest.mark.parametrize("line", LINES)
def test_parts_equal_the_whole_batch(line: str, name: str) -> None:
    whole = train(line, name, parts=1)
    assert {key.rpartition("/")[2].split()[-1] for key in whole if key[0] in "01"} == {"seg", "aux", "whitening"}
    for parts in (2, 3, 6):
        assert differences(train(line, name, parts), whole) < 1e-9


def train_all(parts: int) -> list[dict[str, Tensor]]:
    return [train("--img_wt_loss --batch_weighting --logit_adjust 0.5", name, parts) for name in ("baseline", "mldg")]


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


WT_LAYER = (0, 0, 0, 2, 5, 1, 0)


def step_once(name: str, recompute: bool) -> tuple[dict[str, Tensor], int, int]:
    """State and losses after an iteration, how many numbers its graphs kept, and how often the backbone ran."""

    def backbone() -> Backbone:
        made = Backbone("resnet18", 16, wt_layer=WT_LAYER)
        if recompute:
            recompute_in_backward(made.blocks)
        return made

    term = Whitening([True, False], weight=2.0)
    term.select([torch.ones(64, 64, dtype=torch.bool).triu(1)], 1, CPU)
    method = small_method(backbone, name, whitening=term, inner_lr=0.1)
    runs: list[int] = []
    method.net.encoder.backbone.stages[0][0].register_forward_pre_hook(lambda *_: runs.append(1))
    kept: list[int] = []

    def keep(x: Tensor) -> Tensor:
        kept.append(x.numel())
        return x

    with saved_tensors_hooks(keep, lambda x: x):
        terms = method.step(part(joint_batch(0, PER_RANK), slice(2 * rank(), 2 * rank() + 2)))
    norms = [module for module in method.net.modules() if isinstance(module, WhiteningNorm)]
    assert len(norms) == 2 and all(norm.normalised is None for norm in norms)
    return method.net.state_dict() | terms, sum(kept), len(runs)


@pytest.mark.parametrize("name", NAMES)
def test_recomputed_activations_equal_kept_ones(name: str) -> None:
    expected, much, passes = step_once(name, False)
    found, little, all_passes = step_once(name, True)
    assert differences(found, expected) < 1e-12
    # The passes with a gradient run again, those that write the memory do not.
    assert all_passes - passes == 1 + METHODS[name].mldg
    assert little < much / 2


def recompute_in_ranks() -> float:
    return differences(*(step_once("mldg", recompute)[0] for recompute in (True, False)))


def test_recomputed_activations_in_ranks(tmp_path: Path) -> None:
    assert max(run_ranks(recompute_in_ranks, 2, tmp_path)) < 1e-12


def test_flags_reach_their_places() -> None:
    line = "--accumulate 2 --bs_mult 4 --checkpoint_activations --arch DeepR18V3PlusD --pretrained_backbone none"
    options = parse_training(line.split())
    config = {"arch": options.network.arch, "num_classes": 19, "memory": None}
    net = start_network(options, config, CPU)
    assert "forward" in vars(net.encoder.backbone.stages[0]) and build.build_method(options, net).parts == 2
    options = parse_training(line.split()[5:])
    net = start_network(options, config, CPU)
    assert "forward" not in vars(net.encoder.backbone.stages[0]) and build.build_method(options, net).parts == 1


def test_parts_that_are_refused(capsys: pytest.CaptureFixture) -> None:
    mistakes = {
        "--accumulate 3 --bs_mult 4": "--accumulate 3: does not divide --bs_mult 4",
        "--accumulate 2 --memory": "--accumulate 2: the memory is written from a whole batch",
    }
    for line, message in mistakes.items():
        assert message in training_mistake(line, capsys)


def test_a_run_keeps_its_parts(tmp_path: Path) -> None:
    before = {**parse_training([]).flags, "checkpoint": tmp_path / "iteration_000002.pth"}
    refuse_changes(parse_training(["--checkpoint_activations"]).flags, before)
    with pytest.raises(UsageError, match=r"--accumulate: .* was started with 1, not 2"):
        refuse_changes(parse_training(["--accumulate", "2"]).flags, before)
