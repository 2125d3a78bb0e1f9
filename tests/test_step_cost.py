"""The cost of a training step at full size, counted instead of timed."""

from contextlib import nullcontext
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch
from torch import Tensor, nn

from datasets.sampling.loaders import Batch
from engine.build import network_from
from engine.evaluating.prediction import Inference, Predictor
from engine.options.training_command import parse_training
from engine.training.batch_feed import BatchFeed
from engine.training.progress import Progress
from engine.training.trainer import Trainer
from methods import METHODS
from methods.method import Method
from methods.whitening_term import Whitening
from network.switchable_whitening import SwitchableWhitening2d
from support.costs import Costs
from support.methods import method_on
from utils.metrics import ConfusionMatrix

CROP = 768
ISW = [0, 0, 2, 2, 2, 0, 0]
PASSES = {  # images in each pass of the network, and of the encoder
    "baseline": ([4], [4]),
    "mldg": ([2, 2], [2, 2]),
    "memory": ([4], [4, 4]),  # one more to write the memory
    "pinmem": ([2, 2], [2, 2, 2, 2]),  # one more at the stepped weights, one to write the memory
}


@pytest.fixture(autouse=True)
def no_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """The meta device has no autocast."""
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: nullcontext())


def real_method(name: str, whitened: bool = False, *, device: str = "meta") -> Method:
    slots = {"slots": 19} if METHODS[name].memory else None
    config = {"arch": "DeepR18V3PlusD", "num_classes": 19, "memory": slots}
    net = network_from(config | ({"wt_layer": ISW} if whitened else {})).to(device).train()
    whitening = None
    if whitened:
        norms = net.encoder.whitening
        whitening = Whitening([True] * len(norms), weight=0.6)
        masks = [torch.ones(norm.num_features, norm.num_features, dtype=torch.bool) for norm in norms]
        whitening.select(masks, 0, torch.device("meta"))
    return method_on(net, name, whitening=whitening)


def costs_of_a_step(method: Method, tmp_path: Path, domains: int = 2) -> tuple[Costs, int]:
    """The second step, and its steps of the optimizer: the first one may prepare what is kept."""
    options, parts = parse_training([]), {"progress": Progress(), "selection": None, "validation": {}}
    trainer = Trainer(options, method, {}, None, tmp_path, device=torch.device("meta"), precision="off", **parts)
    trainer.feed = BatchFeed([], {}, 0)
    roles = torch.arange(domains) % 2 == 1
    shape = domains, 2, CROP, CROP
    images = torch.empty(*shape[:2], 3, *shape[2:], dtype=torch.uint8)
    batch = Batch(images, torch.empty(shape, dtype=torch.uint8), roles)
    trainer.step(batch.ready("meta"))
    updates = []
    method.optimizer.register_step_post_hook(lambda *_: updates.append(1))
    with Costs((CROP, CROP)) as costs:
        ready = batch.ready("meta")
        costs.label_copies.clear()  # of the batch itself
        trainer.step(ready)
    return costs, len(updates)


@pytest.mark.parametrize("whitened", [False, True])
@pytest.mark.parametrize("name", PASSES)
def test_a_step_costs_its_passes(name: str, whitened: bool, tmp_path: Path) -> None:
    costs, updates = costs_of_a_step(real_method(name, whitened), tmp_path)
    network, encoder = PASSES[name]
    assert (costs.network, costs.encoder) == (network, encoder)
    assert costs.network_backward == costs.encoder_backward == network
    assert updates == 1
    assert costs.label_copies == []


def test_domains_that_are_not_neighbours_are_copied_once(tmp_path: Path) -> None:
    """Of three domains the first and the third are meta-train."""
    costs, _ = costs_of_a_step(real_method("pinmem"), tmp_path, domains=3)
    assert costs.network == [4, 2] and costs.label_copies == ["aten.cat.default torch.int64"]


def test_tensors_are_handled_together() -> None:
    """A look-ahead and a sum of gradients launch what they do for all tensors at once."""
    method = real_method("pinmem")
    method.optimizer = method.scheduler = MagicMock()
    first, second = ([torch.empty_like(param) for param in method.params.values()] for _ in range(2))
    with Costs((CROP, CROP)) as costs:
        method.look_ahead(first)
        method.apply(first, second, mean=True)
    assert costs.calls.keys() <= {"empty_like", "_record_function_enter_new", "_record_function_exit"} | {
        "_foreach_sub", "_foreach_copy_", "_foreach_add_", "_foreach_div_"
    }  # fmt: skip
    assert sum(number for name, number in costs.calls.items() if name.startswith("_foreach")) == 5


def test_switchable_whitening_uploads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The meta device hides the upload of ``new_tensor``."""
    monkeypatch.setattr(Tensor, "new_tensor", None)
    norm = SwitchableWhitening2d(16).to("meta")
    with Costs((CROP, CROP)) as costs:
        norm(torch.empty(2, 16, 8, 8, device="meta"))
    assert not costs.uploads


def test_maps_stay_in_the_layout_of_the_weights() -> None:
    """Channels last, also at the stepped weights: those of 1x1 convolutions have no layout of their own."""
    method = real_method("pinmem", device="cpu")
    plain = []

    def look(module: nn.Module, _: tuple, out: object) -> None:
        if isinstance(out, Tensor) and out.dim() == 4 and not out.is_contiguous(memory_format=torch.channels_last):
            plain.append(type(module).__name__)

    for module in method.net.modules():
        module.register_forward_hook(look)
    labels = torch.randint(0, 19, (2, 2, 64, 64))
    method.step(Batch(torch.randn(2, 2, 3, 64, 64), labels, torch.tensor([False, True])))
    assert plain == []


@pytest.mark.parametrize("mode", ["whole", "sliding", "pooling"])
def test_labelling_a_picture_waits_for_nothing(mode: str) -> None:
    net = real_method("memory").net
    scales = (1.0,) if mode == "whole" else (0.5, 1.0)
    inference = Inference(mode, scales, flip=mode != "whole", crop_size=384)
    predict = Predictor(net, device=torch.device("meta"), inference=inference)
    image, labels = torch.empty(3, 512, 1024, dtype=torch.uint8), torch.empty(512, 1024, dtype=torch.uint8)
    smaller = [image[:, ::2, ::2]] * (len(scales) - 1)
    matrix = ConfusionMatrix(19, "meta")
    predict(image, smaller, index=0)
    with Costs((512, 1024)) as costs:
        matrix.update(labels.to("meta", non_blocking=True), predict(image, smaller, index=0))
    assert matrix.counts.dtype == torch.int64 and len(costs.uploads) == 1 + len(scales)  # labels, and each view
    assert sum(costs.encoder) == {"whole": 1, "sliding": 2 * (8 + 2), "pooling": 4}[mode]
