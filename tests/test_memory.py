"""The categorical memory: equal to the release's, and its properties."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import network.categorical_memory
from checkpoints.release_format import to_ours, to_release
from loss.memory_losses import classification_loss, cohesion_loss, divergence_loss
from network.categorical_memory import CategoricalMemory, class_masks
from support.golden import assert_close, load, make_labels, seed_weights

MODES = ["train_write_nodetach", "train_write_detach", "train_nowrite", "eval_nowrite_nomask", "eval_write",
         "train_mom05_temp01"]  # fmt: skip


def seeded_memory(dim: int = 16, momentum: float = 0.8) -> CategoricalMemory:
    return seed_weights(CategoricalMemory(19, dim=dim, momentum=momentum), "memory.")


def positions_last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)


@pytest.mark.parity
@pytest.mark.parametrize("mode", MODES)
def test_module_matches_the_release(mode: str) -> None:
    golden, memory = load("c_memory"), seeded_memory(momentum=0.5 if "mom05" in mode else 0.8)
    query, labels, weights = (torch.from_numpy(golden[name]) for name in ("query", "mask", "R"))
    check_module(memory, query.requires_grad_(), labels.long(), weights, mode, golden)


@pytest.mark.parity
def test_wide_module_matches_the_release() -> None:
    golden = load("c_memory256")
    query = np.maximum(np.random.RandomState(21).randn(2, 256, 13, 17) + 0.3, 0).astype(np.float32)
    weights = torch.from_numpy(np.random.RandomState(7).randn(2, 256, 13, 17).astype(np.float32))
    labels = torch.from_numpy(make_labels(22, 2, 193, 257, 24, list(range(19))))
    assert (labels.numpy() == golden["mask"]).all()
    query = torch.from_numpy(query).requires_grad_()
    check_module(seeded_memory(256), query, labels, weights, "train_write_nodetach", golden)


def check_module(
    memory: CategoricalMemory, query: Tensor, labels: Tensor, weights: Tensor, mode: str, golden: dict
) -> None:
    def recorded(name: str) -> np.ndarray:
        return golden[f"{mode}/{name}"]

    memory.train(mode.startswith("train"))
    reading = memory.read(query, memory.items)
    losses = {"readloss": cohesion_loss(reading.scores, labels, temperature=0.1 if "temp01" in mode else 1.0)}
    if "nowrite" not in mode:
        items = memory.write(query, labels, memory.items)
        losses |= {"divloss": divergence_loss(items), "clsloss": classification_loss(memory.classifier(items))}
        assert_close(items.detach(), recorded("m_items_after"), 1e-5, "items")
    assert_close(positions_last(reading.weights).detach(), recorded("score_memory"), 1e-5, "read weights")
    over_positions = positions_last(reading.scores).flatten(0, 2).softmax(0).view_as(positions_last(reading.scores))
    assert_close(over_positions.detach(), recorded("score_query"), 1e-5, "scores")
    read = reading.features.detach()
    if f"{mode}/output" in golden:
        assert_close(read, recorded("output"), 1e-5, "read features")
    else:
        assert_close(read[:, ::8, ::2, ::2], recorded("output:sub"), 1e-5, "read features")
    if "nomask" not in mode:
        for name, value in losses.items():
            assert_close(value.item(), recorded(name), 1e-6, f"loss {name}")
        check_gradients(sum(losses.values()), memory, query, f"{mode}/grad_losses/", golden)
    check_gradients((reading.features * weights).sum(), memory, query, f"{mode}/grad_outR/", golden)
    for key in [key for key in golden if key.startswith(f"{mode}/buffer/")]:
        name = to_ours("memory." + key.removeprefix(f"{mode}/buffer/")).removeprefix("memory.")
        assert_close(memory.state_dict()[name], golden[key], 1e-5, "running statistics")


def check_gradients(total: Tensor, memory: CategoricalMemory, query: Tensor, prefix: str, golden: dict) -> None:
    wanted = {"query": query} | dict(memory.named_parameters())
    grads = torch.autograd.grad(total, list(wanted.values()), allow_unused=True, retain_graph=True)
    recorded = {key.removeprefix(prefix): value for key, value in golden.items() if key.startswith(prefix)}
    for name, grad in zip(wanted, grads, strict=True):
        theirs = name if name == "query" else to_release(f"memory.{name}").removeprefix("module.memory.")
        whole, part = recorded.get(theirs), recorded.get(theirs + ":sub")
        assert (grad is None) == (whole is None and part is None), f"{prefix}{name}: gradient path differs"
        if whole is not None:
            assert_close(grad, whole, 1e-5, f"gradient of {name}")
        elif part is not None:
            assert_close(grad.flatten()[::37], part, 1e-5, f"gradient of {name}")


@pytest.mark.parity
def test_masks_equal_one_hot_then_resize() -> None:
    golden = load("c_memory")
    labels = torch.from_numpy(golden["mask"]).long()
    assert_close(class_masks(labels, (7, 9), 19, torch.float32), golden["onehot_down"][:, :19], 1e-5, "class masks")
    generator = torch.Generator().manual_seed(0)
    for size in [(1, 1), (13, 17), (48, 5), (50, 66), (64, 80)]:
        labels = torch.randint(0, 22, (2, 50, 66), generator=generator)
        one_hot = F.one_hot(labels.clamp_max(19), 20)[..., :19].permute(0, 3, 1, 2).double()
        expected = F.interpolate(one_hot, size, mode="bilinear", align_corners=True)
        torch.testing.assert_close(class_masks(labels, size, 19, torch.float64), expected, rtol=0, atol=1e-12)


@pytest.mark.parity
def test_absent_and_unseen_classes_keep_their_item() -> None:
    golden, memory = load("c_memory"), seeded_memory().eval()
    query = torch.from_numpy(golden["query"])
    with torch.no_grad():
        written = memory.write(query, torch.from_numpy(golden["mask"]).long(), memory.items)
        one_pixel = memory.train().write(query, torch.from_numpy(golden["onepixel_mask"]).long(), memory.items)
        ignored = memory.write(query, torch.full((3, 50, 66), 255), memory.items)
    absent = golden["absent_slots"]
    present = [k for k in range(19) if k not in absent]
    assert (written[absent] - memory.items[absent]).abs().max() < 1e-6
    assert ((written[present] - memory.items[present]).abs().amax(1) > 1e-3).all()
    assert not golden["onepixel_slot7_changed"]
    assert (one_pixel[7] - memory.items[7]).abs().max() < 1e-6
    assert_close(one_pixel, golden["onepixel_m_items_after"], 1e-5, "items, a class of one pixel")
    assert (ignored - memory.items).abs().max() < 1e-6
    assert_close(ignored, golden["allignored_m_items_after"], 1e-5, "items, all pixels ignored")
    assert_close(divergence_loss(ignored).item(), golden["allignored_div"], 1e-6, "loss div, all pixels ignored")
    with torch.no_grad():
        recognised = classification_loss(memory.classifier(ignored)).item()
    assert_close(recognised, golden["allignored_cls"], 1e-6, "loss cls, all pixels ignored")
    torch.testing.assert_close(written.norm(dim=1), torch.ones(19))


@pytest.mark.parity
def test_gumbel_read_is_the_softmax_of_noisy_cosines(monkeypatch: pytest.MonkeyPatch) -> None:
    golden, memory = load("c_memory"), seeded_memory().eval()
    noise = torch.from_numpy(golden["gumbel_seed12_noise_memory"]).view(3, 7, 9, 19).permute(0, 3, 1, 2)
    monkeypatch.setattr(network.categorical_memory, "gumbel_noise", lambda like: noise)
    with torch.no_grad():
        reading = memory.read(torch.from_numpy(golden["query"]), memory.items, gumbel=True)
    assert_close(positions_last(reading.weights), golden["gumbel_seed12_score_memory"], 1e-5, "noisy weights")
    assert_close(reading.features, golden["gumbel_seed12_output"], 1e-5, "noisy read features")


def test_gumbel_noise_has_the_gumbel_law() -> None:
    torch.manual_seed(0)
    noise = network.categorical_memory.gumbel_noise(torch.empty(200_000))
    assert noise.mean() == pytest.approx(0.5772, abs=0.01) and noise.std() == pytest.approx(1.2825, abs=0.01)


@pytest.mark.parity
def test_gradient_through_a_written_memory() -> None:
    golden, first, second = load("c_memory"), seeded_memory(), seeded_memory()
    query = torch.from_numpy(golden["query"]).requires_grad_()
    items = first.write(query, torch.from_numpy(golden["mask"]).long(), first.items)
    reading = second.read(torch.from_numpy(golden["chain_query2"]), items)
    loss = cohesion_loss(reading.scores, torch.from_numpy(golden["chain_mask2"]).long())
    assert_close(loss.item(), golden["chain_readloss2"], 1e-6, "loss, of a written memory")
    read = (reading.features * torch.from_numpy(golden["R"])).sum()
    assert_close(read.item(), golden["chain_outR2"], 1e-5, "read of a written memory")
    total = loss + read
    wanted = {"query": query} | {f"writenet.writefeat.{key}": value for key, value in first.update.named_parameters()}
    for name, grad in zip(wanted, torch.autograd.grad(total, list(wanted.values())), strict=True):
        assert_close(grad, golden[f"chain_grad/{name}"], 1e-5, f"gradient of {name} through a written memory")


@pytest.mark.parity
def test_gradient_of_items_that_are_read() -> None:
    golden, memory = load("c_memory"), seeded_memory()
    items = memory.items.clone().requires_grad_()
    reading = memory.read(torch.from_numpy(golden["query"]), items)
    losses = {
        "outR": (reading.features * torch.from_numpy(golden["R"])).sum(),
        "readloss": cohesion_loss(reading.scores, torch.from_numpy(golden["mask"]).long()),
    }
    for name, loss in losses.items():
        (grad,) = torch.autograd.grad(loss, items, retain_graph=True)
        assert_close(grad, golden[f"nowrite_grad_m_items_{name}"], 1e-5, f"gradient of the items by {name}")


def test_any_number_of_slots_and_a_colder_read() -> None:
    memory = CategoricalMemory(7, dim=8, read_temp=0.05).eval()
    features = memory.items[torch.arange(6).view(1, 2, 3)].permute(0, 3, 1, 2)
    weights = memory.read(features, memory.items).weights
    assert weights.shape == (1, 7, 2, 3)
    assert (weights.argmax(1) == torch.arange(6).view(1, 2, 3)).all()
