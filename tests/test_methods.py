"""Methods: who sees what.  Their numbers are checked in test_parity.py."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from datasets.registry import Sample, spec
from datasets.sampling.loaders import Batch, Domains, train_loader
from datasets.transforms import Augmentation
from support.methods import NAMES
from support.tiny_network import CLASSES, tiny_method


def random_batch(domains: int = 2, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (domains, 2, 16, 16), generator=generator)
    images = torch.randn(domains, 2, 3, 16, 16, generator=generator)
    return Batch(images, labels, torch.arange(domains) > 0)


@pytest.mark.parametrize("name", NAMES)
def test_every_method_learns(name: str) -> None:
    method = tiny_method(name)
    batch = random_batch()
    before = [param.clone() for param in method.net.parameters()]
    losses = [sum(method.step(batch).values()).item() for _ in range(60)]
    assert losses[-1] < losses[0]
    assert not any(torch.equal(old, new) for old, new in zip(before, method.net.parameters(), strict=True))


@pytest.mark.parametrize(
    ("split", "passes"), [("domains", [[0, 1], [2, 3]]), ("images", [[0, 2], [1, 3]]), ("all", [[0, 1, 2, 3]] * 2)]
)
@pytest.mark.parametrize("name", ["mldg", "pinmem"])
def test_what_is_divided_into_meta_train_and_meta_test(name: str, split: str, passes: list[list[int]]) -> None:
    """The images of two domains, two each, that the first and the second pass of the network see."""
    method, batch = tiny_method(name, meta_split=split), random_batch()
    received: list[Tensor] = []
    method.net.register_forward_pre_hook(lambda module, inputs: received.append(inputs[0]))
    method.step(batch)
    flat = batch.images.flatten(0, 1)
    seen = [[index for index in range(4) if any(torch.equal(flat[index], x) for x in images)] for images in received]
    assert seen == passes


@pytest.mark.parametrize("name", ["mldg", "pinmem"])
def test_the_mean_of_both_gradients_halves_the_step(name: str) -> None:
    steps = []
    for mean in (False, True):
        method = tiny_method(name, meta_mean=mean, gumbel=False)
        before = [param.clone() for param in method.net.parameters()]
        method.step(random_batch())
        steps.append([new - old for old, new in zip(before, method.net.parameters(), strict=True)])
    for whole, half in zip(*steps, strict=True):
        assert torch.allclose(whole / 2, half, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_pixels_without_a_label_do_no_harm(name: str) -> None:
    method = tiny_method(name)
    batch = random_batch()
    terms = method.step(batch._replace(labels=torch.full_like(batch.labels, 255)))
    assert all(value.isfinite().all() for value in [*terms.values(), *method.net.parameters()])


def flat_domain(folder: Path, split: bool) -> tuple:
    """A domain of one image: of one colour, or (``split``) of two, left and right."""
    folder.mkdir()
    image = np.full((40, 40, 3), (120, 160, 90), np.uint8)
    image[:, ::2] = (60, 90, 180) if split else image[0, 0]
    Image.fromarray(image).save(folder / "image.png")
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(folder / "label.png")
    return spec("idd"), [Sample(folder / "image.png", folder / "label.png", "image")]


@pytest.mark.parametrize("meta_aug", ["role", "first_domain"])
@pytest.mark.parametrize("name", ["mldg", "pinmem"])
def test_strong_jitter_follows_the_role(tmp_path: Path, meta_aug: str, name: str) -> None:
    """From what the network receives: the domain by its stripes, jitter by its colours, the role by the pass."""
    method = tiny_method(name)
    received: list[Tensor] = []
    method.net.register_forward_pre_hook(lambda module, inputs: received.append(inputs[0]))
    plain = [flat_domain(tmp_path / "flat", False), flat_domain(tmp_path / "striped", True)]
    domains = Domains(plain, Augmentation(crop_size=16, scale_min=1.0, scale_max=1.0), seed=5)
    roles_seen = set()
    for batch in train_loader(domains, batch_size=2, start=0, stop=100, meta=True, meta_aug=meta_aug):
        received.clear()
        method.step(batch.ready("cpu"))
        assert len(received) == 2  # meta-train first, then meta-test at the stepped weights
        for is_test, images in enumerate(received):
            colours = {tuple(colour) for colour in images.permute(0, 2, 3, 1).flatten(0, 2).round(decimals=3).tolist()}
            domain = int(bool(images.std(dim=3).max() > 0.02))
            jittered = not colours <= untouched_colours()
            assert jittered == (bool(is_test) if meta_aug == "role" else domain == 0)
            roles_seen.add((domain, is_test))
    assert roles_seen == {(0, 0), (0, 1), (1, 0), (1, 1)}


def untouched_colours() -> set[tuple[float, ...]]:
    batch = Batch(
        torch.tensor([[120, 160, 90], [60, 90, 180]], dtype=torch.uint8).view(1, 2, 3, 1, 1), *[torch.zeros(1)] * 2
    )
    return {tuple(colour) for colour in batch.ready("cpu").images.view(2, 3).round(decimals=3).tolist()}


def test_meta_test_images_never_reach_memory_or_running_statistics() -> None:
    stored = []
    for seed in (0, 1):
        method = tiny_method("pinmem", gumbel=False)
        batch = random_batch()
        batch.images[1] = random_batch(seed=seed).images[1] * (1 + seed)
        grads = [torch.zeros_like(param) for param in method.net.parameters()]
        apply = method.apply
        method.apply = lambda *_, mean, apply=apply, grads=grads: apply(grads)  # the same weights after it
        method.step(batch)
        stored.append({name: buffer.clone() for name, buffer in method.net.named_buffers()})
    assert any(name.startswith("memory.fuse") for name in stored[0])  # statistics of the meta-train pass too
    torch.testing.assert_close(*stored, rtol=0, atol=0)


def test_the_memory_without_meta_learning_takes_a_single_domain(tmp_path: Path) -> None:
    domains = Domains([flat_domain(tmp_path / "flat", False)], Augmentation(crop_size=16), seed=5)
    (batch,) = train_loader(domains, batch_size=2, start=0, stop=1)
    assert tiny_method("memory").step(batch.ready("cpu"))["seg"].isfinite()


def test_bf16_steps_are_close_to_single_precision() -> None:
    terms = []
    for half in (False, True):
        method = tiny_method("pinmem", gumbel=False)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half, cache_enabled=False):
            terms.append(method.step(random_batch()))
    for name in terms[0]:
        assert terms[1][name].item() == pytest.approx(terms[0][name].item(), rel=0.02), name
