"""Parity with the authors' release: network forwards, losses, gradients."""

import numpy as np
import pytest
import torch
from torch import Tensor

from checkpoints.release_format import to_release
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
from support.rounding import assert_rounding_explains, assert_rounding_explains_most, in_three_ways

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
GRADIENTS = [*((name, mode) for name in ("r18v3p_mem", "r50v3p_mem", "mobile_mem") for mode in MODES),
             ("r101v2_mem", MODES[2]), ("r50v3p_base", ""), ("r50v3p_ibn", "")]  # fmt: skip
# What shows most; "detach" concerns what is stored only.
DOUBLE = {("r18v3p_mem", MODES[0]), ("r18v3p_mem", MODES[2]), ("r50v3p_mem", MODES[2]), ("mobile_mem", MODES[2]),
          ("r50v3p_ibn", "")}  # fmt: skip
SINGLE = {("r18v3p_mem", MODES[2])}
LOSSES = ("main", "aux", "read", "div", "cls")


def gradient_cases(quick: set[tuple[str, str]]) -> pytest.MarkDecorator:
    marks = {case: () if case in quick else pytest.mark.slow for case in GRADIENTS}
    return pytest.mark.parametrize(("name", "mode"), [pytest.param(*case, marks=marks[case]) for case in GRADIENTS])


@gradient_cases(DOUBLE)
def test_losses_and_gradients(name: str, mode: str) -> None:
    golden = load(f"b_{name}_f64")
    results = with_norms(train_once(name, mode, torch.float64), golden)
    norms, moved = results["grad_norm"], moving(golden, mode)
    theirs = golden[mode + "grad_norm"]
    assert (norms.isnan().numpy() == np.isnan(theirs)).all(), "gradient paths differ"
    assert not (norms[~moved] > ZERO).any()
    assert_norms(norms[moved].numpy(), theirs[moved], 1e-8, "gradients' norms")
    probes = golden[mode + "grad_probe"][moved]
    scale = np.maximum(theirs[moved], np.abs(probes))
    hold(probes, "gradients' directions", (np.abs(results["grad_probe"][moved].numpy() - probes) / scale).max(), 1e-8)
    assert_norms(results["buffer_norm"].numpy(), golden[mode + "buffer_norm"], 1e-8, "running statistics")
    for key in tensors_of(results, golden, mode):
        assert_close(results[key], golden[mode + key], 1e-8, title(key))


@gradient_cases(SINGLE)
def test_losses_and_gradients_in_single_precision(name: str, mode: str) -> None:
    golden = load(f"b_{name}")
    ways = [with_norms(way, golden) for way in in_three_ways(lambda dtype: train_once(name, mode, dtype))]
    moved = moving(load(f"b_{name}_f64"), mode)
    assert not (ways[0]["grad_norm"][~moved] > 1e-4).any()
    norms = [way["grad_norm"][moved] for way in ways]
    assert_rounding_explains_most(golden[mode + "grad_norm"][moved], *norms, norms[1], "gradients' norms")
    directions = [way["grad_probe"][moved] for way in ways]
    assert_rounding_explains_most(golden[mode + "grad_probe"][moved], *directions, norms[1], "gradients' directions")
    buffers = [way["buffer_norm"] for way in ways]
    assert_rounding_explains_most(golden[mode + "buffer_norm"], *buffers, buffers[1], "running statistics")
    for key in tensors_of(ways[1], golden, mode):
        if not key.startswith("grad/"):  # where an activation changes its sign, single numbers move further
            assert_rounding_explains(golden[mode + key], *(way[key] for way in ways), title(key))


def moving(golden: dict, mode: str) -> np.ndarray:
    """Which parameters have a gradient that is more than rounding noise.

    The others are biases with only linear layers between them and the next norm.
    """
    norms = golden[mode + "grad_norm"]
    assert all(str(key).endswith("bias") for key in golden["param_names"][norms <= ZERO])
    assert (norms > ZERO).sum() > 90
    return norms > ZERO


def tensors_of(results: dict[str, Tensor], golden: dict, mode: str) -> list[str]:
    """The results of one size that the golden has."""
    return [key for key in results if mode + key in golden and not key.endswith(("_norm", "_probe"))]


def title(key: str) -> str:
    names = {"inter_sub": "features", "m_items_after": "items"} | {key: f"loss {key}" for key in (*LOSSES, "total")}
    return names.get(key, "gradients in full")


def train_once(name: str, mode: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """Losses and other results by the golden's names, and what is left in the network by the release's."""
    net = seeded_network(name, dtype).train()
    images = torch.from_numpy(make_images(77, 4, 129, 161)).to(dtype)
    labels = torch.from_numpy(make_labels(78, 4, 129, 161, 16, [c for c in range(19) if c not in (3, 11, 17)]))
    out = net(images)
    terms = {"main": cross_entropy(out.logits, labels), "aux": auxiliary_cross_entropy(out.aux, labels)}
    if out.reading is not None:
        terms["read"] = cohesion_loss(out.reading.scores, labels)
    results = {"inter_sub": out.features[:, ::16, ::2, ::2]}
    if mode.startswith("write"):
        items = net.memory.write(out.features, labels, net.memory.items)
        terms |= {"div": divergence_loss(items), "cls": classification_loss(net.memory.classifier(items))}
        results["m_items_after"] = items
    weights = dict(zip(LOSSES, (1, 0.4, 0.02, 0.4, 0.2), strict=True))
    results |= terms | {"total": sum(weights[term] * value for term, value in terms.items())}
    results["total"].backward()
    results |= {f"grad/{to_release(key)}": x.grad for key, x in net.named_parameters() if x.grad is not None}
    results |= {f"buffer/{to_release(key)}": x for key, x in net.named_buffers()}
    return {key: value.detach() for key, value in results.items()}


def with_norms(results: dict[str, Tensor], golden: dict) -> dict[str, Tensor]:
    """The results and the golden's summaries of them; NaN for a parameter without a gradient."""
    gradients = {key: results.get(f"grad/{key}", torch.tensor(torch.nan)) for key in map(str, golden["param_names"])}
    summaries = {
        "grad_norm": [float(x.double().norm()) for x in gradients.values()],
        "grad_probe": [probe(key, x) for key, x in gradients.items()],
        "buffer_norm": [float(results[f"buffer/{key}"].double().norm()) for key in golden["buffer_names"]],
    }
    return results | {key: torch.tensor(values, dtype=torch.float64) for key, values in summaries.items()}


def iteration_batch(number: int, dtype: torch.dtype, meta_test: list[bool], count: int = 4) -> Batch:
    images, labels = [], []
    for domain, absent in enumerate([(3, 11, 17), (3, 7, 12, 16)]):
        image = torch.from_numpy(make_images(1000 + 10 * number + domain, count, 97, 97, 16)).to(dtype)
        images.append(image * 0.75 + 0.5 if domain else image)
        classes = [c for c in range(19) if c not in absent]
        labels.append(make_labels(2000 + 10 * number + domain, count, 97, 97, 12, classes))
    return Batch(torch.stack(images), torch.from_numpy(np.stack(labels)), torch.tensor(meta_test))
