"""Segmenting an image: equal to the release, every pixel covered, any size."""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from datasets.transforms import Pyramid, normalise, to_tensor
from engine.evaluating.prediction import Inference
from network.categorical_memory import CategoricalMemory
from network.deeplab import DeepLab, build_network
from support.golden import assert_classes, assert_close, assert_norms, hold, load, seed_weights, spread_of
from support.rounding import MARGIN, SingleRounding
from utils.inference import add_in_strips, windows, zeros_like
from utils.metrics import ConfusionMatrix
from utils.seeds import seed_of

CASES = [
    # one scale and three show what the others would
    pytest.param(f"{mode}/{scales}/{flip}", marks=pytest.mark.slow if "1.5" in scales else ())
    for mode, group in (("sliding", ("1.0", "1.5", "0.5,1.0,1.5", "0.5,1.0,2.0")),
                        ("pooling", ("1.0", "0.5,1.0,1.5", "0.5,1.0,2.0")))
    for scales in group
    for flip in ("flip", "noflip")
]  # fmt: skip


@pytest.fixture(scope="module")
def net() -> DeepLab:
    """The network with which the release was evaluated, in double precision."""
    load("f_eval")  # without it the tests are skipped before anything is built
    return seed_weights(build_network("DeepR50V3PlusD", 19, memory=CategoricalMemory(19))).eval().double()


@pytest.fixture(scope="module")
def release_logits(net: DeepLab) -> Callable[[Tensor], Tensor]:
    """Its logits; those of images that it has seen before are remembered."""
    seen: dict[bytes, Tensor] = {}

    @torch.no_grad()
    def logits(images: Tensor) -> Tensor:
        key = str(images.shape).encode() + images.numpy().tobytes()
        if key not in seen:
            seen[key] = net(normalise(images).double()).logits
        return seen[key]

    return logits


@pytest.fixture(scope="module")
@torch.no_grad()
def rounding(net: DeepLab) -> float:
    """How far rounding may move the logits in single precision; means of them move no further."""
    image = normalise(to_tensor(Image.fromarray(load("f_eval")["image"]))[None]).double()
    exact = net(image).logits
    with SingleRounding():
        return MARGIN * float((net(image).logits - exact).abs().max())


def golden_inference(case: str) -> Inference:
    mode, scales, flip = case.split("/")
    scales = tuple(map(float, scales.split(",")))
    return Inference(mode, scales, flip == "flip", crop_size=96, counts="row")


@pytest.mark.parity
@pytest.mark.parametrize("case", CASES)
def test_equals_the_release(case: str, release_logits: Callable[[Tensor], Tensor], rounding: float) -> None:
    golden = {key.removeprefix(f"{case}/"): value for key, value in load("f_eval").items() if key.startswith(case)}
    image, label = Image.fromarray(load("f_eval")["image"]), torch.from_numpy(load("f_eval")["label"])
    inference = golden_inference(case)
    result = inference(release_logits, to_tensor(image), inference.pyramid(image))
    name = "avg_logits" if case.startswith("sliding") else "probs"
    theirs = golden[f"{name}_sub"]
    # The derivative of a probability p with respect to the largest change of a logit is at most 2 p (1 - p).
    slope = 1.0 if name == "avg_logits" else 2 * float(theirs.max())
    assert_close(result[:, ::4, ::4], theirs, slope * rounding / spread_of(theirs), name)
    stats = torch.stack([result.mean(), result.std(correction=0), result.abs().sum()])
    assert_norms(stats.numpy(), golden[f"{name}_stats"], 1e-6, f"spread of {name}")
    argmax = result.argmax(0)
    assert_classes(argmax, golden, 0.98)
    matrix = ConfusionMatrix(19)
    matrix.update(label, argmax)
    hold(golden["hist"], "confusion matrix", (matrix.counts.numpy() != golden["hist"]).mean())
    assert_close(100 * matrix.scores().mean_iou, golden["miou_pct"], 1e-12, "mIoU")


@pytest.mark.parity
@pytest.mark.parametrize("case", [case.values[0] for case in CASES if case.values[0].startswith("sliding")])
def test_windows_of_the_release(case: str) -> None:
    for scale, (size, boxes, shape) in zip(
        golden_inference(case).scales, json.loads(str(load("f_eval")[f"{case}/windows_json"])), strict=True
    ):
        ours = windows(*size, tile=int(96 * max(scale, 1.0)), overlap=1 / 3)
        hold("f_eval", "windows", [list(box) for box in ours] != boxes)
        assert [len(ours), 3, ours[0].bottom - ours[0].top, ours[0].right - ours[0].left] == shape


@pytest.mark.parity
def test_scores_of_the_release() -> None:
    golden = {key.removeprefix("metrics/"): value for key, value in load("f_eval").items() if "metrics/" in key}
    matrix = ConfusionMatrix(19)
    matrix.update(torch.from_numpy(golden["gt"]), torch.from_numpy(golden["pred"]))
    scores = matrix.scores()
    hold(golden["hist"], "confusion matrix", (matrix.counts.numpy() != golden["hist"]).mean())
    np.testing.assert_allclose(scores.iou, golden["iou"], rtol=1e-12)
    assert scores.iou.isnan().any()
    assert_close(scores.mean_iou, golden["mean_iu"], 1e-12, "mIoU")
    assert_close(scores.accuracy, golden["acc"], 1e-12, "accuracy")
    assert_close(scores.recall.nanmean(), golden["acc_cls"], 1e-12, "mean recall")
    assert_close((scores.share * scores.iou).nansum(), golden["fwavacc"], 1e-12, "IoU by frequency")


def test_windows_cover_every_pixel() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        width, height, tile = (int(x) for x in rng.integers(1, 200, 3))
        overlap = float(rng.uniform(0, 0.95))
        boxes = windows(width, height, tile=tile, overlap=overlap)
        number = np.zeros((height, width), int)
        for left, top, right, bottom in boxes:
            assert 0 <= left < right <= width and 0 <= top < bottom <= height
            assert (right - left, bottom - top) == (min(tile, width), min(tile, height))
            number[top:bottom, left:right] += 1
        assert number.min() >= 1 and len(set(boxes)) == len(boxes)
    assert len(windows(2048, 1024, tile=768, overlap=1 / 3)) == 4 * 2
    assert windows(7, 5, tile=768, overlap=0.0) == [(0, 0, 7, 5)]


def local(images: Tensor) -> Tensor:
    """Logits that look at a small neighbourhood."""
    weights = torch.linspace(-1, 1, 4 * 3 * 9, dtype=torch.float64).sin().view(4, 3, 3, 3)
    return F.conv2d(images.double() / 255, weights, padding=1)


def picture(height: int, width: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_one_window_is_the_whole_image() -> None:
    image = to_tensor(picture(20, 33))
    whole = Inference()(local, image, [])
    for counts in ("pixel", "row"):
        assert torch.equal(Inference("sliding", crop_size=40, counts=counts)(local, image, []), whole)
    torch.testing.assert_close(Inference("pooling")(local, image, []), whole.softmax(0), rtol=0, atol=1e-15)


def test_a_mirror_image_is_seen_mirrored() -> None:
    image = to_tensor(picture(24, 8 + 2 * 6))  # three windows fit exactly, so the mirror image has the same windows
    for way in (Inference("pooling"), Inference("sliding", crop_size=8, overlap=0.25)):
        straight, mirrored = (replace(way, flip=True)(local, x, []) for x in (image, image.flip(-1)))
        torch.testing.assert_close(mirrored.flip(-1), straight, rtol=0, atol=1e-12)
        assert not torch.allclose(way(local, image, []), straight)


def test_averages_of_a_constant_are_that_constant() -> None:
    """For all windows, scales and sizes; except with the published count 'row'."""
    image = picture(30, 50)
    for seen in (Inference("sliding", (0.5, 1.0, 1.7), True, 16), Inference("sliding", (2.0,), False, 7, 0.6)):
        result = seen(constant, to_tensor(image), seen.pyramid(image))
        torch.testing.assert_close(result, constant(result[None])[0], rtol=0, atol=1e-5)
    published = Inference("sliding", (1.0,), False, 16, counts="row")
    assert published(constant, to_tensor(image), []).unique().numel() > 3
    upright = published(constant, to_tensor(picture(50, 30)), [])  # more rows than columns
    assert upright.isfinite().all()


def constant(images: Tensor) -> Tensor:
    return torch.arange(1.0, 5)[:, None, None].expand(len(images), 4, *images.shape[-2:])


def test_pooling_takes_views_from_large_to_small() -> None:
    """It needs no scale of 1."""
    image, widths = picture(30, 51), []
    seen = Inference("pooling", (0.5, 1.5))

    def logits(images: Tensor) -> Tensor:
        widths.append(images.shape[-1])
        return local(images)

    result = seen(logits, to_tensor(image), seen.pyramid(image))
    assert widths == [76, 25]
    assert result.shape == (4, 30, 51) and torch.allclose(result.sum(0), torch.ones(30, 51).double())
    assert Pyramid((0.1,))(picture(1, 3))[0].shape == (3, 1, 1)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_maps_are_added_in_place(layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utils.inference.STRIP_PIXELS", 3 * 40)  # three of ten rows at once
    maps = torch.randn(4, 1, 5, 10, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    total = zeros_like(maps[:1, 0].contiguous(memory_format=layout), (10, 40))
    assert total.is_contiguous(memory_format=layout)
    for number, x in enumerate(maps):
        add_in_strips(total, x.contiguous(memory_format=layout), mirrored=number == 2, softmax=True)
    maps = maps.softmax(2)
    expected = maps[0] + maps[1] + maps[2].flip(-1) + maps[3]
    torch.testing.assert_close(total, expected, rtol=0, atol=1e-13)


@torch.no_grad()
def test_pictures_of_any_size() -> None:
    net = build_network("DeepR18V3PlusD", 19, memory=CategoricalMemory(19)).eval()
    for size in ((1, 1), (5, 300), (300, 5), (37, 53)):
        image = picture(*size)
        for seen in (Inference(), Inference("sliding", (0.5, 1.0), True, 64), Inference("pooling", (0.5, 2.0), True)):
            result = seen(lambda images: net(normalise(images)).logits, to_tensor(image), seen.pyramid(image))
            assert result.shape == (19, *size) and result.isfinite().all()


def test_tags_and_seeds() -> None:
    assert Inference().tag == "whole"
    assert Inference("sliding", flip=True).tag == "sliding_1.0_flip"
    assert Inference("pooling", (0.5, 1.0, 2.0)).tag == "pooling_0.5,1.0,2.0"
    assert len({seed_of(read, index) for read in range(30) for index in range(30)}) == 900
