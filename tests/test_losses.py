"""Segmentation losses compared with loops over pixels, and the flags that choose them."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_methods import random_batch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from datasets.labels import IGNORE
from engine.options.training_command import parse_training
from loss.relaxation import relaxed_cross_entropy
from loss.segmentation import CITYSCAPES_WEIGHTS, auxiliary_cross_entropy, class_weights, cross_entropy
from methods import METHODS
from methods.objective import Objective
from network.deeplab import resize
from support.methods import NAMES
from support.mistakes import training_mistake
from support.tiny_network import tiny_method

FLAGS = [
    "--cls_wt_loss",
    "--img_wt_loss",
    "--img_wt_loss --batch_weighting --wt_bound 3",
    "--jointwtborder",
    "--jointwtborder --strict_bdr_cls 5,6,7 --img_wt_loss",
    "--jointwtborder --cls_wt_loss --rlx_off_iter 1",
]


def example(classes: int = 19) -> tuple[Tensor, Tensor]:
    """Logits and labels of three images: one has some ignored pixels, one has only ignored pixels."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(3, classes, 6, 8, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, classes, (3, 3, 4), generator=generator).repeat_interleave(2, 1).repeat_interleave(2, 2)
    labels[0, 1:3, 2:5] = labels[2] = IGNORE
    labels[1, 3, 3] = 5
    return logits, labels


def by_hand(logits: Tensor, labels: Tensor, flags: str) -> float:
    """The loss pixel by pixel, as the papers define it."""
    total, valid = 0.0, 0
    for image, (scores, truth) in enumerate(zip(logits.tolist(), labels.tolist(), strict=True)):
        pixels = (labels if "batch" in flags else labels[image]).flatten().tolist()
        pixels = [label for label in pixels if label != IGNORE]
        for y, row in enumerate(truth):
            for x, own in enumerate(row):
                if own == IGNORE:
                    continue
                valid += 1
                around = {own}
                if "joint" in flags and not ("strict" in flags and own in (5, 6, 7)):
                    near = [line[max(0, x - 1) : x + 2] for line in truth[max(0, y - 1) : y + 2]]
                    around = {label for line in near for label in line} - {IGNORE}
                odds = [math.exp(plane[y][x]) for plane in scores]
                weights = [1.0 for _ in around]
                if "--cls" in flags:
                    weights = [CITYSCAPES_WEIGHTS[label] for label in around]
                if "img" in flags:
                    bound = 3 if "bound" in flags else 1
                    shares = [pixels.count(label) / len(pixels) for label in around]
                    weights = [1 + bound * (1 - share) for share in shares]
                chance = sum(odds[label] for label in around) / sum(odds)
                total -= sum(weights) / len(weights) * math.log(chance)
    return total / valid


def losses(flags: str) -> Objective:
    """Those of the first iteration."""
    return Objective(parse_training(flags.split()).segmentation, scheduler=SimpleNamespace(last_epoch=0))


SIZES = [
    ((6, 5), (23, 31)),
    ((7, 6), (13, 6)),
    ((12, 9), (12, 30)),
    ((9, 9), (4, 5)),
    ((1, 1), (7, 3)),
    ((3, 4), (1, 1)),
]


@pytest.mark.parametrize(("size", "labelled"), SIZES)
@pytest.mark.parametrize("strip", [1, 1000, 1 << 20])  # one row at a time, several, all
def test_coarse_logits_as_if_they_were_resized(
    size: tuple, labelled: tuple, strip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loss.resized_cross_entropy.STRIP", strip)
    rng = torch.Generator().manual_seed(0)
    logits = 50 * torch.randn(3, 7, *size, generator=rng, dtype=torch.float64)
    labels = torch.randint(0, 8, (3, *labelled), generator=rng)
    labels[labels == 7] = IGNORE
    labels[1] = IGNORE
    loss = cross_entropy(logits.requires_grad_(), labels)
    expected = cross_entropy(resize(logits, labels.shape[-2:]), labels)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    gradient, expected_gradient = (torch.autograd.grad(3 * x, logits)[0] for x in (loss, expected))
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(cross_entropy(logits.float(), labels), expected.float(), rtol=2e-6, atol=0)
    assert cross_entropy(logits, torch.full_like(labels, IGNORE)) == 0


class Reductions(TorchDispatchMode):
    """Collects how the negative log-likelihoods of pixels are reduced; 0 is not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[int] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        if function.overloadpacket.__name__ == "nll_loss2d_forward":
            self.found.append(args[3])
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("size", [(6, 8), (3, 4)])  # of the labels, and coarser
def test_deterministic_losses_are_sums_of_maps(size: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA adds in any order where it reduces itself, and torch has no deterministic form of that."""
    logits, labels = example()
    results = []
    for deterministic in (False, True):
        monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda chosen=deterministic: chosen)
        coarse = logits[..., : size[0], : size[1]].clone().requires_grad_()
        with Reductions() as reductions:
            loss = cross_entropy(coarse, labels)
            results.append([loss, torch.autograd.grad(loss, coarse)[0]])
        assert reductions.found and (set(reductions.found) == {0}) == deterministic
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("flags", ["", *FLAGS])
def test_losses_are_those_of_the_papers(flags: str) -> None:
    logits, labels = example()
    found = losses(flags).segmentation(logits, labels)
    assert found.item() == pytest.approx(by_hand(logits, labels, flags), rel=1e-6)
    auxiliary = losses(flags).auxiliary(logits[..., ::2, ::2], labels)
    weights = class_weights(labels.device) if "--cls" in flags else None
    assert auxiliary == auxiliary_cross_entropy(logits[..., ::2, ::2], labels, weights=weights)


@pytest.mark.parametrize("flags", ["", "--img_wt_loss", "--jointwtborder"])
def test_adjusted_logits(flags: str) -> None:
    """A class's share of all pixels so far is added to its logits; a class that was never seen gets nothing."""
    logits, labels = example()
    labels[labels == 3] = 4
    chosen = losses(f"{flags} --logit_adjust 0.7")
    chosen.pixels = torch.zeros(19, dtype=torch.int64)
    other = torch.full_like(labels, 5)
    for seen in (labels, other):
        chosen.count(seen[None])
    pixels = [label for label in [*labels.flatten().tolist(), *other.flatten().tolist()] if label != IGNORE]
    shares = torch.tensor([pixels.count(label) / len(pixels) for label in range(19)], dtype=torch.float64)
    assert shares[3] == 0 and shares.sum() == pytest.approx(1)
    shifted = logits + 0.7 * torch.where(shares > 0, shares, 1).log()[:, None, None]
    expected = by_hand(shifted, labels, flags)
    assert chosen.segmentation(logits, labels).item() == pytest.approx(expected, rel=1e-6)
    assert expected != pytest.approx(by_hand(logits, labels, flags), rel=0.01)


@pytest.mark.parametrize("flags", FLAGS)
def test_gradients(flags: str) -> None:
    """They are right and 0 at ignored pixels; half-precision logits are summed in single precision."""
    logits, labels = example()
    chosen = losses(flags).segmentation
    logits.requires_grad_()
    corner = logits[:1, :, :3, :3].detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: chosen(x, labels[:1, :3, :3]), corner)
    chosen(logits, labels).backward()
    assert torch.equal(logits.grad.ne(0).any(dim=1), labels != IGNORE)
    nothing = chosen(logits, torch.full_like(labels, IGNORE))
    assert nothing == 0 and torch.autograd.grad(nothing, logits)[0].eq(0).all()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = chosen(logits.detach().bfloat16(), labels)
    assert half.dtype == torch.float32 and half.item() == pytest.approx(chosen(logits, labels).item(), rel=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_every_method_minimises_the_chosen_loss(name: str) -> None:
    objective, batch = losses("--jointwtborder --cls_wt_loss"), random_batch()
    seen = []

    def watched(logits: Tensor, labels: Tensor, *, whole: Tensor | None) -> Tensor:
        seen.append((labels, Objective.segmentation(objective, logits, labels, whole=whole)))
        return seen[-1][1]

    objective.segmentation = watched
    mldg, method = METHODS[name].mldg, tiny_method(name, objective=objective)
    terms = method.step(batch)
    assert [terms[each] for each in (["inner/seg", "outer/seg"] if mldg else ["seg"])] == [loss for _, loss in seen]
    pools = batch.labels if mldg else [batch.labels.flatten(0, 1)]  # domain 0 is meta-train, domain 1 meta-test
    assert all(torch.equal(labels, pool) for (labels, _), pool in zip(seen, pools, strict=True))


def test_relaxation_ends_with_its_iteration() -> None:
    logits, labels = example()
    chosen = losses("--jointwtborder --rlx_off_iter 2")
    relaxed, plain = relaxed_cross_entropy(logits, labels), cross_entropy(logits, labels)
    for iteration, expected in enumerate((relaxed, relaxed, plain)):
        chosen.scheduler.last_epoch = iteration
        assert chosen.segmentation(logits, labels) == expected
    assert relaxed < plain


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--cls_wt_loss --img_wt_loss", "both weight the classes"),
        ("--wt_bound 2", "--wt_bound changes nothing without --img_wt_loss"),
        ("--batch_weighting --cls_wt_loss", "--batch_weighting changes nothing without --img_wt_loss"),
        ("--strict_bdr_cls 5", "--strict_bdr_cls changes nothing without --jointwtborder"),
        ("--rlx_off_iter 5", "--rlx_off_iter changes nothing without --jointwtborder"),
        ("--jointwtborder --rlx_off_iter -2", "of -1 or more"),
        ("--jointwtborder --strict_bdr_cls 5,19", "19: give classes from 0 to 18"),
        ("--jointwtborder --strict_bdr_cls pole", "pole: give numbers of classes"),
    ],
)
def test_flags_that_contradict(line: str, told: str, capsys: pytest.CaptureFixture) -> None:
    assert told in training_mistake(line, capsys)


def test_flags_in_their_usual_form() -> None:
    loss = parse_training(["--jointwtborder", "--strict_bdr_cls", "5, 7,6", "--rlx_off_iter", "-1"]).segmentation
    assert loss.strict == (5, 6, 7) and loss.relaxed_until == -1 and loss.bound == 1


@pytest.mark.parametrize(("source", "target"), [(768, 48), (240, 15), (100, 13), (7, 33), (713, 90), (5, 1)])
def test_auxiliary_labels_are_those_of_a_nearest_resize(source: int, target: int) -> None:
    labels = torch.randint(0, 19, (2, source, 9), generator=torch.Generator().manual_seed(source))
    logits = torch.randn(2, 19, target, 4, generator=torch.Generator().manual_seed(target))
    expected = cross_entropy(logits, F.interpolate(labels[:, None].float(), (target, 4))[:, 0].long())
    assert torch.equal(auxiliary_cross_entropy(logits, labels), expected)
