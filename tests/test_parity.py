"""Parity with the authors' release: network forwards, losses, gradients, memory initialisation, whole iterations."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from datasets.loaders import Batch
from golden import assert_close, load, make_images, make_labels, net_called, probe, seed_weights
from loss.memory import classification_loss, cohesion_loss, divergence_loss
from loss.segmentation import auxiliary_cross_entropy, cross_entropy
from loss.whitening import covariance
from methods import choose_method
from network.deeplab import DeepLab
from optimizer.sgd import build_optimizer
from utils.release_names import to_ours

pytestmark = pytest.mark.parity
ZERO = 1e-12  # gradients in double precision that are rounding noise
NOISE = "module.dsn.0.bias"  # a bias in front of a batch norm: its gradient is rounding noise around zero


class Tolerance(NamedTuple):
    """Relative; those of float32 are what the release differs from itself by, with other threads (golden README 5)."""

    losses: float
    items: float  # absolute
    update: float  # worst parameter
    update_median: float


EXACT = Tolerance(1e-8, 1e-8, 1e-8, 1e-8)
SINGLE = {1: Tolerance(5e-6, 6e-5, 3e-3, 2e-4), 2: Tolerance(1.3e-3, 1.2e-3, 0.1, 1e-2)}


def seeded_network(name: str, dtype: torch.dtype = torch.float32) -> DeepLab:
    return seed_weights(net_called(name).build()).to(dtype)


def stats(x: Tensor) -> np.ndarray:
    x = x.double()
    return np.array([x.mean(), x.std(correction=0), x.abs().sum()])


MEMORY_NETS = ("r18v3p_mem", "r50v3p_mem")
FORWARDS = [
    *MEMORY_NETS, "r50v3p_base", "r50v3p_ibn", "r50v3p_in", "r50v3p_isw", "r50v3p_irw", "r50v3_base", "mobile_mem",
    "mobile_ibn", "mobile_isw", "shuffle_mem", "shuffle_os8_mem", "shuffle_ibn", "r101v2_base", "r101v2_mem",
]  # fmt: skip


@pytest.mark.parametrize("name", FORWARDS)
@torch.no_grad()
def test_forward(name: str) -> None:
    golden = load(f"a_{name}")
    out = seeded_network(name).eval()(torch.from_numpy(make_images(1234, 2, 193, 257)))
    assert_close(out.logits[:, :, ::8, ::8], golden["logits_sub"], 1e-4, "logits")
    assert_close(stats(out.logits)[1:], golden["logits_stats"][1:], 1e-5, "logits' spread")
    assert_close(out.features[:, ::8, ::2, ::2], golden["inter_sub"], 1e-4, "features")
    safe = np.unpackbits(golden["safe"], count=golden["argmax"].size).astype(bool).reshape(golden["argmax"].shape)
    assert safe.mean() > 0.99
    assert (out.logits.argmax(1).numpy() == golden["argmax"])[safe].all()
    if name.endswith("mem"):
        assert_close(out.reading.weights.permute(0, 2, 3, 1), golden["score_memory"], 1e-5, "read weights")
        assert_close(over_positions(out.reading.scores), golden["score_query"], 1e-5, "scores")
        assert_close(out.reading.features[:, ::8, ::2, ::2], golden["read_sub"], 1e-4, "read features")
    assert len(out.whitened) == sum(f"fcor{k}_sub" in golden for k in range(7))
    for k, normalised in enumerate(out.whitened):
        found = covariance(normalised)
        assert_close(found[:, ::8, ::8], golden[f"fcor{k}_sub"], 1e-5, f"covariance of norm {k}")
        assert_close(stats(found), golden[f"fcor{k}_stats"], 1e-5, f"covariance of norm {k}")


def over_positions(scores: Tensor) -> Tensor:
    """The release's other softmax, over all positions of the batch: N,S,h,w to N,h,w,S."""
    scores = scores.permute(0, 2, 3, 1)
    return scores.flatten(0, 2).softmax(0).view_as(scores)


MODES = ("nowrite_", "write_detach_", "write_nodetach_")
GRADIENT_CASES = [
    *(pytest.param(name, mode, torch.float64, id=f"double-{name}-{mode}") for name in MEMORY_NETS for mode in MODES),
    *(pytest.param("r18v3p_mem", mode, torch.float32, id=f"single-r18v3p_mem-{mode}") for mode in MODES),
    pytest.param("r50v3p_mem", "write_nodetach_", torch.float32, id="single-r50v3p_mem-write_nodetach_"),
    pytest.param("r50v3p_base", "", torch.float64, id="double-r50v3p_base"),
    pytest.param("r50v3p_base", "", torch.float32, id="single-r50v3p_base"),
    pytest.param("r50v3p_ibn", "", torch.float64, id="double-r50v3p_ibn"),
    pytest.param("r50v3p_ibn", "", torch.float32, id="single-r50v3p_ibn"),
    *(pytest.param("mobile_mem", mode, torch.float64, id=f"double-mobile_mem-{mode}") for mode in MODES),
    pytest.param("mobile_mem", "write_nodetach_", torch.float32, id="single-mobile_mem-write_nodetach_"),
    pytest.param(
        "r101v2_mem", "write_nodetach_", torch.float64, id="double-r101v2_mem-write_nodetach_", marks=pytest.mark.slow
    ),
]


@pytest.mark.parametrize(("name", "mode", "dtype"), GRADIENT_CASES)
def test_losses_and_gradients(name: str, mode: str, dtype: torch.dtype, threads: Callable[[int], None]) -> None:
    if dtype == torch.float32:
        threads(2)
    golden = load(f"b_{name}_f64" if dtype == torch.float64 else f"b_{name}")
    net = seeded_network(name, dtype).train()
    images = torch.from_numpy(make_images(77, 4, 129, 161)).to(dtype)
    labels = torch.from_numpy(make_labels(78, 4, 129, 161, 16, [c for c in range(19) if c not in (3, 11, 17)]))
    out = net(images)
    terms = {"main": cross_entropy(out.logits, labels), "aux": auxiliary_cross_entropy(out.aux, labels)}
    items = None
    if out.reading is not None:
        terms["read"] = cohesion_loss(out.reading.scores, labels)
    if mode.startswith("write"):
        items = net.memory.write(out.features, labels, net.memory.items)  # "detach" concerns what is stored only
        terms |= {"div": divergence_loss(items), "cls": classification_loss(net.memory.classifier(items))}
    weights = {"main": 1, "aux": 0.4, "read": 0.02, "div": 0.4, "cls": 0.2}
    total = sum(weights[term] * value for term, value in terms.items())
    total.backward()

    exact = dtype == torch.float64
    for term, value in {**terms, "total": total}.items():
        assert_close(value.item(), golden[mode + term], 1e-8 if exact else 1e-6, term)
    if items is not None:
        assert_close(items.detach(), golden[mode + "m_items_after"], 1e-8 if exact else 1e-4, "items")
    check_gradients(net, golden, mode, exact, unmoved(name, mode))
    buffers = {
        to_ours(str(key)): norm for key, norm in zip(golden["buffer_names"], golden[mode + "buffer_norm"], strict=True)
    }
    state = net.state_dict()
    norms = np.array([state[key].double().norm() for key in buffers])
    assert_close(norms, np.array(list(buffers.values())), 1e-8 if exact else 1e-5, "running statistics")


def unmoved(name: str, mode: str) -> set[str]:
    """Biases with only linear layers between them and the next norm: their gradients are zero but for rounding."""
    golden = load(f"b_{name}_f64")
    found = {
        str(key) for key, norm in zip(golden["param_names"], golden[mode + "grad_norm"], strict=True) if norm < ZERO
    }
    assert all(key.endswith("bias") for key in found)
    return found


def check_gradients(net: DeepLab, golden: dict, mode: str, exact: bool, unmoved: set[str]) -> None:
    params = dict(net.named_parameters())
    errors = []
    for key, norm, seen in zip(
        golden["param_names"], golden[mode + "grad_norm"], golden[mode + "grad_probe"], strict=True
    ):
        grad = params[to_ours(str(key))].grad
        assert (grad is None) == bool(np.isnan(norm)), f"{key}: gradient path differs"
        if grad is None:
            continue
        if key in unmoved:
            assert grad.norm() < (ZERO if exact else 1e-4), f"{key}: moves"
            continue
        errors.append(abs(float(grad.double().norm()) - norm) / norm)
        if exact:
            assert abs(probe(str(key), grad) - seen) <= 1e-8 * max(norm, abs(seen)), f"{key}: direction"
    assert len(errors) > 90
    assert max(errors) < (1e-8 if exact else 3e-3) and np.median(errors) < (1e-8 if exact else 2e-4)
    for key in [key for key in golden if key.startswith(mode + "grad/")]:
        grad = params[to_ours(key.removeprefix(mode + "grad/"))].grad
        assert_close(grad, golden[key], 1e-8 if exact else 1e-2, key)


def iteration_batch(number: int, dtype: torch.dtype, meta_test: list[bool], count: int = 4) -> Batch:
    images, labels = [], []
    for domain, absent in enumerate([(3, 11, 17), (3, 7, 12, 16)]):
        image = torch.from_numpy(make_images(1000 + 10 * number + domain, count, 97, 97, 16)).to(dtype)
        images.append(image * 0.75 + 0.5 if domain else image)
        classes = [c for c in range(19) if c not in absent]
        labels.append(make_labels(2000 + 10 * number + domain, count, 97, 97, 12, classes))
    return Batch(torch.stack(images), torch.from_numpy(np.stack(labels)), torch.tensor(meta_test))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])
def test_memory_initialisation(dtype: torch.dtype) -> None:
    golden = load("d_meminit_r18v3p_f64" if dtype == torch.float64 else "d_meminit_r18v3p")
    net = seeded_network("r18v3p_mem", dtype)
    before = net.memory.items.clone()
    method = build_method("memory_agg", net)
    method.initialise_memory(iteration_batch(k, dtype, [False, False], 2) for k in range(3))
    seen = golden["classes_seen"] > 0
    assert list(golden["zero_rows"]) == [3]
    rows = [k for k in range(19) if k != 3]
    assert_close(net.memory.items[rows], golden["m_items_after"][rows], 1e-8 if dtype == torch.float64 else 1e-4)
    assert torch.equal(net.memory.items[3], before[3])  # a class never seen: ours keeps its item, the release zeroes it
    assert net.training and seen.sum() >= 18


def build_method(kind: str, net: DeepLab, anneal: bool = False):
    sgd, schedule = build_optimizer(
        net, lr=0.01, momentum=0.9, weight_decay=5e-4, schedule="exp", exponent=9, horizon=120_000
    )
    chosen = choose_method(mldg="mldg" in kind, memory="memory" in kind)
    extra = ({"anneal": anneal} if "mldg" in kind else {}) | ({"gumbel": False} if "memory" in kind else {})
    return chosen(net, sgd, schedule, **extra)


@pytest.mark.parametrize("iterations", [pytest.param(1, marks=pytest.mark.slow), 2])  # two contain what one shows
@pytest.mark.parametrize("kind", ["agg", "mldg", "memory_agg", "memory_mldg"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])
def test_iterations(kind: str, iterations: int, dtype: torch.dtype, threads: Callable[[int], None]) -> None:
    exact = dtype == torch.float64
    if not exact:  # what the sums come to in single precision depends on it; the numbers were computed with two
        threads(2)
    tolerance = EXACT if exact else SINGLE[iterations]
    golden = load(f"e_{kind}" + ("_2it" if iterations == 2 else "") + ("_f64" if exact else ""))
    net = seeded_network("r50v3p_mem" if "memory" in kind else "r50v3p_base", dtype).train()
    start = {key: value.clone() for key, value in net.state_dict().items()}
    method = build_method(kind, net, anneal=iterations == 2)
    rows = []
    for number in range(iterations):  # the recorded splits: domain 0 is meta-test in both iterations
        terms = method.step(iteration_batch(number, dtype, [True, False]))
        rows += loss_rows(terms, kind)
    check_losses(rows, golden, tolerance.losses)
    check_update(net, start, golden, tolerance)
    assert method.scheduler.get_last_lr()[0] == pytest.approx(golden["lr_after_each_iteration"][-1], rel=1e-12)
    if "mldg" in kind and iterations == 2:
        assert method.inner_lr == pytest.approx(float(golden["inner_lr_after"]), rel=1e-12)
    if "memory" in kind:
        difference = (net.memory.items.double() - torch.from_numpy(golden["m_items_after"])).abs()
        assert difference.max() <= tolerance.items  # absolute: the rows have unit length


def loss_rows(terms: dict[str, Tensor], kind: str) -> list[dict[str, float]]:
    scale = {"seg": 1, "aux": 0.4, "coh": 0.02, "div": 0.4, "cls": 0.2}
    stages = ["inner/", "outer/"] if "mldg" in kind else [""]
    names = {"seg": "main", "aux": "aux", "coh": "read", "div": "div", "cls": "cls"}
    return [
        {theirs: terms[stage + ours].item() / scale[ours] for ours, theirs in names.items() if stage + ours in terms}
        for stage in stages
    ]


def check_losses(rows: list[dict[str, float]], golden: dict, tolerance: float) -> None:
    columns = [str(column) for column in golden["losses_columns"]]
    assert len(rows) == len(golden["losses"])
    for row, recorded in zip(rows, golden["losses"], strict=True):
        for name, value in row.items():
            assert value == pytest.approx(recorded[columns.index(name)], rel=tolerance), name


def check_update(net: DeepLab, start: dict[str, Tensor], golden: dict, tolerance: Tolerance) -> None:
    state = net.state_dict()
    errors = []
    for k, key in enumerate(map(str, golden["param_names"])):
        if key == NOISE:
            continue
        moved = state[to_ours(key)] - start[to_ours(key)]
        norm = golden["delta_norm"][k]
        errors.append(abs(float(moved.double().norm()) - norm) / norm)
        direction = abs(probe(key, moved) - golden["delta_probe"][k]) / norm
        assert direction <= 10 * tolerance.update, f"{key}: direction of the update"
    assert len(errors) > 190
    assert max(errors) < tolerance.update and np.median(errors) < tolerance.update_median
    for key in [key for key in golden if key.startswith("after/")]:
        assert_close(
            state[to_ours(key.removeprefix("after/"))], golden[key], max(tolerance.items, tolerance.update_median), key
        )
    norms = np.array([state[to_ours(str(key))].double().norm() for key in golden["buffer_names"]])
    assert_close(norms, golden["buffer_norm_after"], tolerance.items, "running statistics")
    for key, count in zip(golden["num_batches_tracked_names"], golden["num_batches_tracked"], strict=True):
        assert state[to_ours(str(key))] == count, f"{key}: batches seen by the running statistics"
