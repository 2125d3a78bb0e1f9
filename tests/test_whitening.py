"""RobustNet's whitening: equal to the release's, with and without masks, in every family of networks."""

import numpy as np
import pytest
import torch
from test_parity import ZERO, iteration_batch, seeded_network
from torch import Tensor, nn

from checkpoints.release_format import to_ours
from datasets.sampling.loaders import Batch
from loss.covariance import covariance, relaxation, sensitive_entries, upper_triangle, whitening_loss
from methods.whitening_term import Whitening, mean_variances
from network.categorical_memory import CategoricalMemory
from network.deeplab import DeepLab, build_network
from support.golden import assert_close, hold, load, make_images, probe
from support.methods import method_on

KINDS = [torch.float64, torch.float32]
SINGLE = 1e-5  # relative error of single modules in single precision


def modules(dtype: torch.dtype) -> tuple[dict[str, np.ndarray], float]:
    exact = dtype == torch.float64
    return load("i_modules_f64" if exact else "i_modules"), 1e-8 if exact else SINGLE


def loss_and_gradient(golden: dict, mask: Tensor, margin: float = 0) -> tuple[Tensor, Tensor]:
    """The whitening loss of the golden's map and its gradient before the instance norm."""
    raw = torch.from_numpy(golden["f_map"]).requires_grad_()
    loss = whitening_loss(nn.functional.instance_norm(raw), mask, margin=margin)
    return loss.detach(), torch.autograd.grad(loss, raw)[0]


@pytest.mark.parity
@pytest.mark.parametrize("dtype", KINDS, ids=["double", "single"])
def test_instance_whitening(dtype: torch.dtype) -> None:
    golden, tolerance = modules(dtype)
    assert_close(covariance(torch.from_numpy(golden["instance_norm"])), golden["covariance"], tolerance)
    for denominator in (0, 2):
        key = f"irw_relax{denominator}"
        mask, margin = upper_triangle(12), relaxation(12, denominator)
        assert margin == golden[f"{key}/margin"] and (mask.numpy() == golden[f"{key}/mask"]).all()
        loss, gradient = loss_and_gradient(golden, mask, margin)
        assert_close(loss, golden[f"{key}/loss"], tolerance, key)
        assert_close(gradient, golden[f"{key}/grad"], tolerance, key)


@pytest.mark.parity
@pytest.mark.parametrize("clusters", [3, 10])
@pytest.mark.parametrize("dtype", KINDS, ids=["double", "single"])
def test_selective_whitening(dtype: torch.dtype, clusters: int) -> None:
    golden, tolerance = modules(dtype)
    key, inputs = f"isw_c{clusters}", torch.from_numpy(golden["var_inputs"])
    first, second = (sensitive_entries(part.mean(dim=0), clusters=clusters) for part in (inputs[:3], inputs[3:]))
    for number, mask, name in ((1, first, "mask_round1"), (2, first & second, "mask_round2_and")):
        assert (mask.numpy() == golden[f"{key}/{name}"]).all()
        assert mask.sum() == golden[f"{key}/num_sensitive_round{number}"]
        loss, gradient = loss_and_gradient(golden, mask)
        assert_close(loss, golden[f"{key}/loss_round{number}"], tolerance, name)
        if number == 1:
            assert_close(gradient, golden[f"{key}/grad_round1"], tolerance, name)


@pytest.mark.parity
def test_entries_that_change_alike_are_spared() -> None:
    """With fewer different numbers than clusters, the lowest cluster has a number above 0."""
    variance = torch.zeros(8, 8)
    assert not sensitive_entries(variance, clusters=3).any()
    variance[0, 7] = 1
    assert sensitive_entries(variance, clusters=3).nonzero().tolist() == [[0, 7]]


def test_a_number_of_entries_without_clusters() -> None:
    golden, _ = modules(torch.float64)
    variance = torch.from_numpy(golden["var_inputs"])[:3].mean(dim=0)
    for denominator, expected in ((2, 33), (4, 50), (1e9, 66)):  # 66 - 66 // D
        mask = sensitive_entries(variance, clusters=0, relax_denom=denominator)
        assert mask.sum() == expected and not (mask & ~upper_triangle(12)).any()
        assert variance[mask].min() >= variance[upper_triangle(12) & ~mask].max() if expected < 66 else True
        if denominator == 2:
            assert (mask.numpy() == golden["isw_relax2/mask"]).all()


def view_pairs(dtype: torch.dtype) -> list[Tensor]:
    """The golden's three images in two views each, the altered one first."""
    pairs = []
    for k in range(3):
        plain, other = (torch.from_numpy(make_images(3000 + k + 100 * n, 1, 129, 161, 24 + 16 * n)) for n in (0, 1))
        changed = 0.7 * plain.to(dtype) + 0.3 + 0.4 * other.to(dtype)
        pairs.append(torch.cat([changed, plain.to(dtype)]))
    return pairs


def selected(net: DeepLab, golden: dict, exact: bool) -> list[Tensor]:
    """The golden's masks; three clusters of the variances of its pairs must give the same."""
    variances = mean_variances(net.eval().encoder, view_pairs(next(net.parameters()).dtype), [True] * 3)
    masks, tolerance = [], 1e-8 if exact else 1e-3
    for k, variance in enumerate(variances):
        x, mask = variance.double(), sensitive_entries(variance, clusters=3)
        found = np.array([x.mean(), x.std(correction=0), x.abs().sum()])
        assert_close(found, golden[f"var{k}_stats"], tolerance, f"variances of layer {k}")
        if f"var{k}_sub" in golden:
            every = len(x) // len(golden[f"var{k}_sub"])
            assert_close(variance[::every, ::every], golden[f"var{k}_sub"], tolerance)
        theirs = np.unpackbits(golden[f"mask{k}_packed"], count=mask.numel()).reshape(mask.shape).astype(bool)
        differing = int((mask.numpy() != theirs).sum())
        assert differing <= (0 if exact else 1e-3 * mask.sum())  # some are at the border of two clusters
        assert theirs.sum() == golden[f"num_sensitive{k}"]
        masks.append(torch.from_numpy(theirs))
    return masks


@pytest.mark.parity
@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        pytest.param("isw", torch.float64, id="double-isw"),
        pytest.param("irw", torch.float32, id="single-irw"),
        pytest.param("irw", torch.float64, id="double-irw", marks=pytest.mark.slow),
        pytest.param("isw", torch.float32, id="single-isw", marks=pytest.mark.slow),
    ],
)
def test_an_iteration(kind: str, dtype: torch.dtype) -> None:
    exact = dtype == torch.float64
    golden = load(f"i_{kind}_r50v3p" + ("_f64" if exact else ""))
    net = seeded_network(f"r50v3p_{kind}", dtype)
    term = Whitening([kind == "isw"] * 3, weight=0.6, relax_denom=2 if kind == "irw" else 0)
    if kind == "isw":
        term.select(selected(net, golden, exact), 1, torch.device("cpu"))
    method = method_on(net.train(), "baseline", whitening=term)
    terms = method.losses(iteration_batch(0, dtype, [True, False], count=2).pool())
    found = torch.stack([terms["seg"], terms["aux"] / 0.4, terms["whitening"] / 0.6]).detach()
    assert_close(found, golden["losses"][0, :3], 1e-8 if exact else 5e-6, "losses")
    assert sum(terms.values()).item() == pytest.approx(golden["losses"][0, 3], rel=1e-6)  # stored in single precision
    grads = dict(zip(method.params, method.own_gradients(terms), strict=True))
    errors, directions = [], []
    for k, key in enumerate(map(str, golden["param_names"])):
        gradient, norm = grads[to_ours(key)].double(), golden["grad_norm"][k]
        if norm > (ZERO if exact else 1e-6):  # a bias before a norm has no gradient
            errors.append(abs(float(gradient.norm()) - norm) / norm)
            directions.append(abs(probe(key, gradient) - golden["grad_probe"][k]) / norm)
    assert len(errors) > 180
    hold(golden["grad_norm"], "gradients' norms, largest", max(errors), 1e-8 if exact else 3e-3)
    hold(golden["grad_norm"], "gradients' norms, median", np.median(errors), 1e-8 if exact else 2e-4)
    hold(golden["grad_probe"], "gradients' directions", max(directions), 1e-7 if exact else 3e-2)


def maps_of(*channels: int, images: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [nn.functional.instance_norm(torch.rand(images, c, 5, 6, generator=generator)) for c in channels]


def random_mask(channels: int, seed: int = 0) -> Tensor:
    return (torch.rand(channels, channels, generator=torch.Generator().manual_seed(seed)) < 0.3).triu(1)


def test_selective_layers_wait_for_their_masks_at_no_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    term, maps = Whitening([False, True, True], weight=2), maps_of(4, 5, 6)
    masks = [upper_triangle(4), random_mask(5), random_mask(6)]
    mean = [whitening_loss(x, mask) for x, mask in zip(maps, masks, strict=True)]
    assert term(maps) == pytest.approx(2 / 3 * mean[0].item())
    term.select(masks[1:], 7, torch.device("cpu"))
    assert term(maps) == pytest.approx(2 / 3 * sum(mean).item())
    assert whitening_loss(maps[0], torch.zeros(4, 4, dtype=torch.bool)) == 0
    monkeypatch.setattr("methods.whitening_term.whitening_loss", None)
    assert Whitening([True] * 3, weight=2)(maps) == 0


ARCHS = ["DeepR18V3PlusD", "DeepShuffleNetV3PlusD", "DeepMobileNetV3PlusD", "DeepMNASNet05V3PlusD"]
LAYERS = [0, 0, 1, 2, 1, 0, 2]


@pytest.mark.parametrize("arch", ARCHS)
def test_every_family_in_half_precision(arch: str) -> None:
    """A step of Pin the Memory with both kinds of whitening; covariances stay in single precision under autocast."""
    torch.manual_seed(0)
    net = build_network(arch, 19, memory=CategoricalMemory(19), wt_layer=LAYERS)
    selective = [kind == 2 for kind in LAYERS if kind]
    term = Whitening(selective, weight=0.6)
    widths = [n.num_features for n, chosen in zip(net.encoder.whitening, selective, strict=True) if chosen]
    method = method_on(net.train(), "pinmem", whitening=term)
    labels = torch.randint(0, 19, (2, 2, 64, 64))
    batch = Batch(torch.randn(2, 2, 3, 64, 64), labels, torch.tensor([False, True]))
    for masks in (None, [random_mask(width) for width in widths]):
        if masks:
            term.select(masks, 1, torch.device("cpu"))
        with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):
            terms = method.step(batch)
        for name in ("inner/whitening", "outer/whitening"):
            assert terms[name].dtype == torch.float32 and terms[name] > 0
        assert all(term.isfinite() for term in terms.values())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert covariance(maps_of(4)[0].bfloat16()).dtype == torch.float32
