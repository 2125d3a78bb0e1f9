"""The categorical memory: equal to the release's, and its properties."""

from collections.abc import Sequence
from copy import deepcopy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import network.categorical_memory
from checkpoints.release_format import to_release
from loss.memory_losses import classification_loss, cohesion_loss, divergence_loss
from network.categorical_memory import GATE, CategoricalMemory, class_masks
from support.golden import assert_close, load, make_labels, seed_weights
from support.rounding import assert_rounding_explains, in_three_ways

MODES = ["train_write_nodetach", "train_write_detach", "train_nowrite", "eval_nowrite_nomask", "eval_write",
         "train_mom05_temp01"]  # fmt: skip


def seeded_memory(dim: int = 16, momentum: float = 0.8) -> CategoricalMemory:
    return seed_weights(CategoricalMemory(19, dim=dim, momentum=momentum), "memory.")


TITLES = {"output": "read features", "score_memory": "read weights", "score_query": "scores", "m_items_after": "items"}


def positions_last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)


@pytest.mark.parity
@pytest.mark.parametrize("mode", MODES)
def test_module_matches_the_release(mode: str) -> None:
    golden = load("c_memory")
    memory = seeded_memory(momentum=0.5 if "mom05" in mode else 0.8)
    query, weights = torch.from_numpy(golden["query"]), torch.from_numpy(golden["R"])
    check_module(memory, query, torch.from_numpy(golden["mask"]).long(), weights, mode, golden)


@pytest.mark.parity
def test_wide_module_matches_the_release() -> None:
    golden = load("c_memory256")
    query = np.maximum(np.random.RandomState(21).randn(2, 256, 13, 17) + 0.3, 0).astype(np.float32)
    weights = torch.from_numpy(np.random.RandomState(7).randn(2, 256, 13, 17).astype(np.float32))
    labels = torch.from_numpy(make_labels(22, 2, 193, 257, 24, list(range(19))))
    assert (labels.numpy() == golden["mask"]).all()
    check_module(seeded_memory(256), torch.from_numpy(query), labels, weights, "train_write_nodetach", golden)


def check_module(
    memory: CategoricalMemory, query: Tensor, labels: Tensor, weights: Tensor, mode: str, golden: dict
) -> None:
    recorded = {key.removeprefix(f"{mode}/"): value for key, value in golden.items() if key.startswith(f"{mode}/")}

    def compute(dtype: torch.dtype) -> dict[str, Tensor]:
        module = deepcopy(memory).to(dtype).train(mode.startswith("train"))
        return module_results(module, query.to(dtype).requires_grad_(), labels, weights.to(dtype), mode)

    ways = in_three_ways(compute)
    names = {key.partition(":")[0] for key in recorded}
    gradients = [{key for key in keys if key.startswith("grad_")} for keys in (ways[1], names)]
    assert gradients[0] == gradients[1], "gradient paths differ"
    check_results(recorded, [{key: x for key, x in way.items() if key in names} for way in ways])


def check_results(golden: dict, ways: Sequence[dict[str, Tensor]]) -> None:
    """Results in three ways are explained by rounding; the golden has all of a result or a part (``:sub``)."""
    for key in ways[1]:
        results = [way[key].detach() for way in ways]
        if key not in golden:
            results = [x[:, ::8, ::2, ::2] if key == "output" else x.flatten()[::37] for x in results]
        title = "gradients" if "grad_" in key else TITLES.get(key, key.partition("/")[0].replace("_", " "))
        assert_rounding_explains(golden[key if key in golden else f"{key}:sub"], *results, title)


def module_results(
    memory: CategoricalMemory, query: Tensor, labels: Tensor, weights: Tensor, mode: str
) -> dict[str, Tensor]:
    """What the golden of the memory holds, by its names."""
    reading = memory.read(query, memory.items)
    scores = positions_last(reading.scores)
    results = {
        "output": reading.features,
        "score_memory": positions_last(reading.weights),
        "score_query": scores.flatten(0, 2).softmax(0).view_as(scores),
    }
    losses = {"readloss": cohesion_loss(reading.scores, labels, temperature=0.1 if "temp01" in mode else 1.0)}
    if "nowrite" not in mode:
        items = memory.write(query, labels, memory.items)
        losses |= {"divloss": divergence_loss(items), "clsloss": classification_loss(memory.classifier(items))}
        results["m_items_after"] = items
    totals = {"grad_outR": (reading.features * weights).sum()}
    if "nomask" not in mode:
        results |= losses
        totals["grad_losses"] = sum(losses.values())
    wanted = {"query": query} | {release_name(name): value for name, value in memory.named_parameters()}
    for name, total in totals.items():
        gradients = torch.autograd.grad(total, list(wanted.values()), allow_unused=True, retain_graph=True)
        found = zip(wanted, gradients, strict=True)
        results |= {f"{name}/{key}": gradient for key, gradient in found if gradient is not None}
    return results | {f"buffer/{release_name(name)}": value for name, value in memory.named_buffers()}


def release_name(name: str) -> str:
    return to_release("memory." + name).removeprefix("module.memory.")


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
    golden = load("c_memory")
    noise = torch.from_numpy(golden["gumbel_seed12_noise_memory"]).view(3, 7, 9, 19).permute(0, 3, 1, 2)
    monkeypatch.setattr(network.categorical_memory, "gumbel_noise", lambda like: noise.to(like.dtype))

    @torch.no_grad()
    def compute(dtype: torch.dtype) -> dict[str, Tensor]:
        memory = seeded_memory().eval().to(dtype)
        reading = memory.read(torch.from_numpy(golden["query"]).to(dtype), memory.items, gumbel=True)
        return {
            "gumbel_seed12_score_memory": positions_last(reading.weights),
            "gumbel_seed12_output": reading.features,
        }

    check_results(golden, in_three_ways(compute))


def test_gumbel_noise_has_the_gumbel_law() -> None:
    torch.manual_seed(0)
    noise = network.categorical_memory.gumbel_noise(torch.empty(200_000))
    assert noise.mean() == pytest.approx(0.5772, abs=0.01) and noise.std() == pytest.approx(1.2825, abs=0.01)


@pytest.mark.parity
def test_gradients_through_a_written_memory_and_of_items_that_are_read() -> None:
    golden = load("c_memory")
    first_labels, second_labels = (torch.from_numpy(golden[key]).long() for key in ("mask", "chain_mask2"))

    def compute(dtype: torch.dtype) -> dict[str, Tensor]:
        first, second = seeded_memory().to(dtype), seeded_memory().to(dtype)
        query, other, weights = (torch.from_numpy(golden[key]).to(dtype) for key in ("query", "chain_query2", "R"))
        reading = second.read(other, first.write(query.requires_grad_(), first_labels, first.items))
        loss, read = cohesion_loss(reading.scores, second_labels), (reading.features * weights).sum()
        wanted = {"query": query} | {release_name(f"update.{key}"): x for key, x in first.update.named_parameters()}
        gradients = torch.autograd.grad(loss + read, list(wanted.values()))
        results = {"chain_readloss2": loss, "chain_outR2": read}
        results |= {f"chain_grad/{key}": gradient for key, gradient in zip(wanted, gradients, strict=True)}
        items = first.items.clone().requires_grad_()
        reading = second.read(query.detach(), items)
        loss, read = cohesion_loss(reading.scores, first_labels), (reading.features * weights).sum()
        results["nowrite_grad_m_items_readloss"] = torch.autograd.grad(loss, items, retain_graph=True)[0]
        return results | {"nowrite_grad_m_items_outR": torch.autograd.grad(read, items)[0]}

    check_results(golden, in_three_ways(compute))


def test_any_number_of_slots_and_a_colder_read() -> None:
    memory = CategoricalMemory(7, dim=8, read_temp=0.05).eval()
    features = memory.items[torch.arange(6).view(1, 2, 3)].permute(0, 3, 1, 2)
    weights = memory.read(features, memory.items).weights
    assert weights.shape == (1, 7, 2, 3)
    assert (weights.argmax(1) == torch.arange(6).view(1, 2, 3)).all()


def test_a_residual_read_starts_as_the_features() -> None:
    memory = CategoricalMemory(5, dim=8, residual=True)
    features = torch.rand(2, 8, 3, 4)
    reading = memory.read(features, memory.items)
    assert torch.equal(reading.features, features)
    memory.gate.data.fill_(2 / GATE)
    replaced = memory.read(features, memory.items).features - features
    plain = CategoricalMemory(5, dim=8)
    plain.load_state_dict({key: value for key, value in memory.state_dict().items() if key != "gate"})
    assert torch.allclose(replaced, 2 * plain.read(features, memory.items).features, atol=1e-6)


def test_centred_items_spread_and_find_the_pixels_of_their_class() -> None:
    """Rectified vectors with a large common part: plain cosines hardly tell them apart, centred ones do."""
    torch.manual_seed(0)
    classes = F.normalize(1 + torch.rand(6, 16), dim=1)
    memory = CategoricalMemory(6, dim=16, centred=True)
    memory.items.copy_(classes)
    features = 3 * classes.T[None, :, :, None]  # a pixel of each class
    plain, centred = classes @ classes.T, memory.compared(memory.items) @ memory.compared(memory.items).T
    off_diagonal = ~torch.eye(6, dtype=torch.bool)
    assert plain[off_diagonal].min() > 0.9 and centred[off_diagonal].mean() < 0
    scores = memory.read(features, memory.items).scores[0, :, :, 0]
    assert torch.allclose(scores, centred, atol=1e-5) and torch.equal(scores.argmax(dim=0), torch.arange(6))
