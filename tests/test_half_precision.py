"""Training steps in bf16: regions in full precision are so in both directions, and losses are near those in float32."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from test_methods import random_batch
from torch import Tensor, autograd, nn

from datasets.labels import STANDARD
from datasets.sampling.loaders import Batch
from datasets.transforms import normalise
from engine import build
from engine.evaluating.prediction import Inference, Predictor
from engine.machine import autocast, compile_network
from engine.options.training_command import parse_training
from loss.covariance import upper_triangle, whitening_loss
from loss.memory_losses import divergence_loss
from methods.method import Method
from network.categorical_memory import CategoricalMemory
from network.deeplab import resize
from network.recomputing import recompute_in_backward
from network.switchable_whitening import SwitchableWhitening2d
from support.methods import NAMES
from support.tiny_network import DIM, tiny_method
from utils.precision import full_precision

FIRST, LAST = 40, 50  # the compared iterations
CPU = torch.device("cpu")


def training(data: Path, name: str) -> tuple[Method, list[Batch]]:
    """A method as the flags of the quickstart make it, but for a smaller crop, and its batches."""
    flags = f"--dataset gtav synthia --data_root {data} --crop_size 64 --bs_mult 2 --color_aug 0.5 --num_workers 0"
    network = "--arch DeepR18V3PlusD --pretrained_backbone none --output_stride 16 --lr 0.05"
    method = ["--method", name, "--inner_lr_anneal", "--max_iter", str(LAST)]
    options = parse_training([*flags.split(), *network.split(), *method])
    torch.manual_seed(0)
    config = build.network_config(options.network, STANDARD, memory=options.entry.memory)
    loaded = build.training_batches(options, build.training_domains(options), CPU, 0)
    return build.build_method(options, build.network_from(config).train()), [batch.ready(CPU) for batch in loaded]


def loss_of_step(method: Method, batch: Batch, precision: str) -> float:
    torch.manual_seed(0)  # noise and drop-out
    with autocast(precision, CPU):
        terms = method.step(batch)
    assert all(term.dtype == torch.float32 for term in terms.values())
    return sum(terms.values()).item()


def compared(method: Method, batches: list[Batch]) -> Iterator[tuple[float, float]]:
    """The losses of the last steps in bf16 and in float32, each from the weights of a float32 training."""
    stateful = method.net, method.optimizer, method.scheduler
    for iteration, batch in enumerate(batches, start=1):
        if iteration >= FIRST:
            before = [deepcopy(each.state_dict()) for each in stateful]
            half = loss_of_step(method, batch, "bf16")
            for each, state in zip(stateful, before, strict=True):
                each.load_state_dict(state)
            yield half, loss_of_step(method, batch, "off")
        else:
            loss_of_step(method, batch, "off")


class Region(nn.Module):
    """A loss of a feature map whose computation is in full precision."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.map = kind, nn.Parameter(torch.randn(2, 16, 12, 12))
        parts = {"write": lambda: CategoricalMemory(7, dim=16), "switchable": lambda: SwitchableWhitening2d(16)}
        self.part = parts.get(kind, nn.Identity)()
        self.labels = torch.randint(0, 7, (2, 24, 24))

    def forward(self) -> Tensor:
        if self.kind == "covariance":
            return whitening_loss(self.map, upper_triangle(16))
        if self.kind == "write":
            items = self.part.write(self.map, self.labels, self.part.items)
            with full_precision(CPU):
                return divergence_loss(items)
        return self.part(self.map).square().mul(self.map).sum()


@pytest.mark.parametrize("kind", ["covariance", "write", "switchable"])
def test_gradients_of_regions_in_full_precision_are_those_of_float32(kind: str) -> None:
    torch.manual_seed(0)
    method, region = tiny_method("baseline"), Region(kind)
    method.params = dict(region.named_parameters())
    if kind == "write":
        method.params = {name: param for name, param in method.params.items() if "map" in name or "update" in name}
    expected = autograd.grad(region(), method.params.values())
    with autocast("bf16", CPU):
        found = method.own_gradients({"loss": region()})
    assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("name", NAMES)
def test_no_backward_of_a_step_is_under_autocast(name: str) -> None:
    method, under = tiny_method(name), []
    for parameter in method.params.values():
        parameter.register_hook(lambda _: under.append(torch.is_autocast_enabled("cpu")))
    with autocast("bf16", CPU):
        method.step(random_batch())
    assert under and not any(under)


@pytest.mark.parametrize("mode", ["whole", "sliding", "pooling"])
def test_logits_are_enlarged_in_single_precision(mode: str) -> None:
    """Labels are those of the network's bf16 logits, enlarged in float32: in bf16, many would be equally large."""
    net, image = tiny_method("baseline").net.eval(), torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8)
    predict = Predictor(net, device=CPU, inference=Inference(mode, crop_size=96), precision="bf16")
    with torch.no_grad(), autocast("bf16", CPU):
        coarse = net(normalise(image)[None]).coarse
    assert coarse.dtype == torch.bfloat16
    expected, rounded = (resize(x, (64, 96)).argmax(1)[0] for x in (coarse.float(), coarse))
    assert (rounded != expected).float().mean() > 1e-3
    assert torch.equal(predict(image, (), index=0).long(), expected)


@pytest.mark.skipif(
    not hasattr(torch._functorch.config, "backward_pass_autocast"), reason="this torch has no such setting"
)
def test_compiled_backwards_are_those_of_others() -> None:
    torch.compiler.reset()
    found = []
    for compiled in (False, True):
        method = tiny_method("memory", gumbel=False)
        method.net.encoder.backbone[1] = SwitchableWhitening2d(DIM)
        method.params = dict(method.net.named_parameters())
        if compiled:
            compile_network(method.net, backend="aot_eager")
        with autocast("bf16", CPU):
            terms = method.read_and_write_losses(random_batch().pool())
        found.append(method.own_gradients(terms))
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-7)


def test_recomputed_activations_are_in_half_precision_again() -> None:
    torch.manual_seed(0)
    method, images = tiny_method("baseline"), torch.randn(4, DIM, 12, 12)
    layer = nn.Sequential(nn.Conv2d(DIM, DIM, 3), SwitchableWhitening2d(DIM), nn.Conv2d(DIM, DIM, 3))
    method.params = dict(layer.named_parameters())
    found = []
    for blocks in ((), [layer]):
        recompute_in_backward(blocks)
        with autocast("bf16", CPU):
            found.append(method.own_gradients({"loss": layer(images).float().square().sum()}))
    assert all(map(torch.equal, *found))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_losses_in_half_precision(name: str, data: Path, threads: Callable[[int], None]) -> None:
    """Two trainings would tell little: in float32 too, weights that differ by 1e-6 soon have losses 3 % apart."""
    threads(1)
    losses = list(compared(*training(data, name)))
    assert len(losses) == LAST - FIRST + 1
    for half, single in losses:
        assert half == pytest.approx(single, rel=2e-3)
