"""Parity with the authors' release: network forwards, losses, gradients."""

import numpy as np
import pytest
import torch
from torch import Tensor

from checkpoints.release_format import to_ours
from datasets.sampling.loaders import Batch
from loss.covariance import covariance
from loss.memory_losses import classification_loss, cohesion_loss, divergence_loss
from loss.segmentation import auxiliary_cross_entropy, cross_entropy
from network.deeplab import DeepLab, SegOutput
from support.golden import (
    assert_classes,
    assert_close,
    assert_norms,
    hold,
    load,
    make_images,
    make_labels,
    net_called,
    probe,
    seed_weights,
)
from support.rounding import assert_rounding_explains, in_three_ways

pytestmark = pytest.mark.parity
ZERO = 1e-12  # gradients in double precision that are rounding noise


def seeded_network(name: str, dtype: torch.dtype = torch.float32) -> DeepLab:
    return seed_weights(net_called(name).build()).to(dtype)


def stats(x: Tensor) -> np.ndarray:
    x = x.double()
    return np.array([x.mean(), x.std(correction=0), x.abs().sum()])


# Those of tests/golden; they show what the others would.
FORWARDS = ["r18v3p_mem", "r50v3p_mem", "r50v3p_base", "r50v3_base", "r101v2_base", "mobile_isw", "shuffle_ibn"]
MORE_FORWARDS = ["r50v3p_ibn", "r50v3p_in", "r50v3p_isw", "r50v3p_irw", "r101v2_mem", "mobile_mem", "mobile_ibn",
                 "shuffle_mem", "shuffle_os8_mem"]  # fmt: skip
NAMES = {"logits": "logits", "inter": "features", "read": "read features", "score_memory": "read weights",
         "score_query": "scores", "fcor0": "covariance of norm 0", "fcor1": "covariance of norm 1",
         "fcor2": "covariance of norm 2"}  # fmt: skip
EVERY = {"logits": (1, 1, 8, 8), "inter": (1, 8, 2, 2), "read": (1, 8, 2, 2), "fcor": (1, 8, 8)}  # steps of *_sub


@pytest.mark.parametrize("name", [*FORWARDS, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE_FORWARDS)])
@torch.no_grad()
def test_forward(name: str) -> None:
    """Neither the golden nor our float32 result differs from our float64 result by more than rounding explains."""
    golden = load(f"a_{name}")
    net = seeded_network(name).eval()
    images = torch.from_numpy(make_images(1234, 2, 193, 257))
    single, exact, rough = in_three_ways(lambda dtype: outputs(net.to(dtype)(images.to(dtype))))
    for key in exact:
        if key in golden:
            assert_rounding_explains(golden[key], single[key], exact[key], rough[key], NAMES[key])
        else:
            parts = [subsampled(key, results[key]) for results in (single, exact, rough)]
            allowed = assert_rounding_explains(golden[f"{key}_sub"], *parts, NAMES[key])
            assert_norms(stats(exact[key])[1:], golden[f"{key}_stats"][1:], allowed, f"spread of {NAMES[key]}")
    assert sum(key.startswith("fcor") for key in exact) == sum(f"fcor{k}_sub" in golden for k in range(7))
    for results in (single, exact):
        assert_classes(results["logits"].argmax(1), golden, 0.99)


def subsampled(key: str, x: Tensor) -> Tensor:
    return x[tuple(slice(None, None, step) for step in EVERY[key.rstrip("0123456789")])]


def outputs(out: SegOutput) -> dict[str, Tensor]:
    """What the golden of a forward holds, by its names."""
    results = {"logits": out.logits, "inter": out.features}
    if out.reading is not None:
        scores = out.reading.scores.permute(0, 2, 3, 1)  # the release has two softmaxes of them, one over positions
        results |= {
            "read": out.reading.features,
            "score_memory": out.reading.weights.permute(0, 2, 3, 1),
            "score_query": scores.flatten(0, 2).softmax(0).view_as(scores),
        }
    return results | {f"fcor{k}": covariance(normalised) for k, normalised in enumerate(out.whitened)}


MODES = ("nowrite_", "write_detach_", "write_nodetach_")
GRADIENTS = {  # of what in single and double precision
    "r18v3p_mem": MODES, "r50v3p_mem": MODES, "mobile_mem": MODES, "r101v2_mem": MODES[2:],
    "r50v3p_base": [""], "r50v3p_ibn": [""],
}  # fmt: skip
QUICK = {f"double-r18v3p_mem-{mode}" for mode in MODES}
QUICK |= {"double-r50v3p_mem-write_nodetach_", "double-mobile_mem-write_nodetach_", "double-r50v3p_ibn-"}
QUICK |= {"single-r18v3p_mem-write_nodetach_"}
GRADIENT_CASES = [
    pytest.param(name, mode, dtype, id=case, marks=() if case in QUICK else pytest.mark.slow)
    for name, modes in GRADIENTS.items()
    for mode in modes
    for precision, dtype in (("double", torch.float64), ("single", torch.float32))
    for case in [f"{precision}-{name}-{mode}"]
]


@pytest.mark.parametrize(("name", "mode", "dtype"), GRADIENT_CASES)
def test_losses_and_gradients(name: str, mode: str, dtype: torch.dtype) -> None:
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
        assert_close(value.item(), golden[mode + term], 1e-8 if exact else 1e-6, f"loss {term}")
    assert_norms(
        stats(out.features.detach())[1:], golden[mode + "inter_stats"][1:], 1e-8 if exact else 1e-5, "features"
    )
    if items is not None:
        assert_close(items.detach(), golden[mode + "m_items_after"], 1e-8 if exact else 1e-4, "items")
    check_gradients(net, golden, mode, exact, unmoved(name, mode))
    state = net.state_dict()
    norms = np.array([state[to_ours(str(key))].double().norm() for key in golden["buffer_names"]])
    assert_norms(norms, golden[mode + "buffer_norm"], 1e-8 if exact else 1e-5, "running statistics")


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
    errors, directions = [], []
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
            directions.append(abs(probe(str(key), grad) - seen) / max(norm, abs(seen)))
    assert len(errors) > 90
    theirs = golden[mode + "grad_norm"]
    hold(theirs, "gradients' norms, worst", max(errors), 1e-8 if exact else 3e-3)
    hold(theirs, "gradients' norms, median", np.median(errors), 1e-8 if exact else 2e-4)
    hold(theirs, "gradients' directions", max(directions, default=0.0), 1e-8)
    for key in [key for key in golden if key.startswith(mode + "grad/")]:
        grad = params[to_ours(key.removeprefix(mode + "grad/"))].grad
        assert_close(grad, golden[key], 1e-8 if exact else 1e-2, "gradients in full")


def iteration_batch(number: int, dtype: torch.dtype, meta_test: list[bool], count: int = 4) -> Batch:
    images, labels = [], []
    for domain, absent in enumerate([(3, 11, 17), (3, 7, 12, 16)]):
        image = torch.from_numpy(make_images(1000 + 10 * number + domain, count, 97, 97, 16)).to(dtype)
        images.append(image * 0.75 + 0.5 if domain else image)
        classes = [c for c in range(19) if c not in absent]
        labels.append(make_labels(2000 + 10 * number + domain, count, 97, 97, 12, classes))
    return Batch(torch.stack(images), torch.from_numpy(np.stack(labels)), torch.tensor(meta_test))
