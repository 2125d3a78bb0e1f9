"""eval.py --memory_report: what items are worth, by hand-made networks and independent formulas; files; processes."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

import eval as evaluation
from checkpoints.run_files import load_checkpoint
from datasets.demo import write_demo
from datasets.images import LabelledImages
from datasets.registry import spec
from datasets.transforms import normalise, to_tensor
from engine.build import network_from
from engine.evaluating.assessment import choose_classes
from engine.evaluating.prediction import Inference, Predictor
from engine.figures.memory_report import (
    MOST,
    Patch,
    best_patches,
    changed_memories,
    nearest_patches,
    write_memory_report,
)
from engine.options.evaluation_options import parse_evaluation
from methods.memory_health import health_of, read_sums
from network.categorical_memory import CategoricalMemory
from network.deeplab import DeepLab, Encoding
from support.own_data import write_classes
from support.ranks import evaluate_and_tell, run_ranks
from support.snapshots import write_snapshot

DOMAINS = ("gtav", "bdd100k")
FILES = ("report.json", "similarity.png", "patches.png")

# A network made by hand


class ByColour(nn.Module):
    """The feature of a red, green or blue pixel is item 0, 1 or 2.  The classifier sees only what is recalled."""

    refine, low_scale, multiple = DeepLab.refine, 1, 1

    def __init__(self, items: Tensor) -> None:
        super().__init__()
        self.memory = CategoricalMemory(4, dim=4, read_temp=0.01)
        self.memory.items.copy_(items)
        self.memory.fuse[0].weight.data = torch.cat([torch.zeros(4, 4), torch.eye(4)], dim=1)[:, :, None, None]
        self.shallow, self.decoder, self.classifier = None, nn.Identity(), nn.Conv2d(4, 3, 1, bias=False)
        self.classifier.weight.data = items[:3, :, None, None].clone()

    def encoder(self, images: Tensor) -> Encoding:
        features = self.memory.items[images.argmax(dim=1)].movedim(-1, 1)
        return Encoding(features, features, features)


def mean_iou(prediction: np.ndarray, labels: np.ndarray) -> float:
    pairs = [(prediction == k, labels == k) for k in range(3)]
    return float(np.mean([(p & t).sum() / (p | t).sum() for p, t in pairs if (p | t).any()]))


def test_worth_of_items(tmp_path: Path) -> None:
    """Items 0 and 1 are similar, item 2 is like no other, item 3 has no class and is never read."""
    labels = np.repeat(np.arange(3, dtype=np.uint8), 8)[None].repeat(12, axis=0)
    colours = (np.eye(3, dtype=np.uint8) * 200)[labels]
    seen = labels.copy()
    labels[0] = 1  # red and blue pixels of class 1
    for folder, picture in (("images", colours), ("labels", labels)):
        (tmp_path / "own" / folder).mkdir(parents=True)
        Image.fromarray(picture).save(tmp_path / "own" / folder / "x.png")
    write_classes(tmp_path / "own", "classes: [a, b, c]")
    items = torch.tensor([[1, 0, 0, 0], [0.6, 0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    line = f"--snapshot x.pth --dataset custom:{tmp_path}/own --device cpu --num_workers 0 --memory_report"
    options = parse_evaluation(line.split())
    predict = Predictor(ByColour(items), device=torch.device("cpu"), inference=Inference())
    names = choose_classes(options.subject.datasets, Path("x"), {"num_classes": 3})
    write_memory_report(predict, options, names, out=tmp_path / "out", settings={"label": "x"})

    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (
        report["label"] == "x" and report["memory_read"] == "softmax" and report["items"]["names"] == [*"abc", "item 3"]
    )
    np.testing.assert_allclose(report["items"]["cosines"], items @ items.T, atol=1e-6)
    rows = report["domains"]["own"]["classes"]
    whole = mean_iou(seen, labels)
    assert report["domains"]["own"]["mean_iou"] == pytest.approx(whole)
    assert [row["pixels"] for row in rows.values()] == [88, 112, 88, 0]
    assert [row["own_item"] for row in rows.values()] == pytest.approx([1, 96 / 112, 1, None])
    assert rows["a"]["read_weight"] == pytest.approx(1) and rows["b"]["read_weight"] == pytest.approx(96 / 112)
    # Without item 0 its pixels read item 1, and the reverse.  Pixels of item 2 read all others alike.
    zero, one = (100 * (mean_iou(np.where(seen == k, 1 - k, seen), labels) - whole) for k in (0, 1))
    two = 100 * (mean_iou(np.where(seen == 2, 0, seen), labels) - whole)
    assert zero < 0 and rows["a"]["zeroed"] == rows["a"]["replaced"] == pytest.approx(zero)
    assert one < 0 and rows["b"]["zeroed"] == rows["b"]["replaced"] == pytest.approx(one)
    assert rows["c"]["zeroed"] < 0 and rows["c"]["replaced"] == pytest.approx(two)
    assert rows["item 3"]["zeroed"] == rows["item 3"]["replaced"] == 0 and rows["item 3"]["iou"] is None
    assert [rows[name]["replaced_by"] for name in "abc"] == [*"baa"]


@pytest.mark.parametrize("centred", [False, True])
def test_a_zero_item_adds_nothing(centred: bool) -> None:
    memory = CategoricalMemory(4, dim=3, centred=centred)
    for k, items in enumerate(changed_memories(memory).zeroed):
        compared = memory.compared(items)
        assert compared.norm(dim=1).tolist() == pytest.approx([float(k != other) for other in range(4)], abs=1e-2)


# A snapshot


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Demo data of two domains, a checkpoint, its scores and its report."""
    home = tmp_path_factory.mktemp("report")
    write_demo(home / "data", domains=list(DOMAINS), train=1, val=3, size=(64, 128), seed=1, workers=1)
    write_snapshot(home / "memory.pth", memory=True)
    evaluation.main(flags(home, "--memory_report --limit 2"))
    evaluation.main(flags(home, f"--limit 2 --out {home}/scores"))
    return home


def flags(home: Path, line: str) -> list[str]:
    common = f"--data_root {home / 'data'} --device cpu --num_workers 0 --dataset {' '.join(DOMAINS)}"
    return f"{common} --snapshot {home}/memory.pth {line}".split()


@torch.no_grad()
def test_numbers_equal_independent_formulas(home: Path) -> None:
    report = json.loads((home / "memory" / "memory_report" / "report.json").read_text())
    scores = json.loads((home / "scores" / "results.json").read_text())
    content = load_checkpoint(home / "memory.pth")
    net = network_from(content["network"]).eval()
    net.load_state_dict(content["weights"])
    for name in DOMAINS:
        domain, scored = report["domains"][name], scores["domains"][name]
        assert domain["mean_iou"] == scored["mean_iou"]
        assert [row["iou"] for row in domain["classes"].values()] == [row["iou"] for row in scored["classes"].values()]
        assert domain["protocol"]["images_hash"] == scored["protocol"]["images_hash"]
        images = LabelledImages(spec(name), home / "data", "val", limit=2)
        pairs = [images[index][:2] for index in range(2)]
        output = net(normalise(torch.stack([to_tensor(image) for image, _ in pairs])))
        labels = torch.stack([torch.from_numpy(labels.copy()) for _, labels in pairs])
        assert domain["health"] == pytest.approx(
            health_of(net.memory, read_sums(net.memory, output.features, labels)), rel=1e-4
        )
        coarse = F.interpolate(labels[:, None].float(), output.features.shape[-2:])[:, 0]
        guesses = F.interpolate(output.logits.argmax(1)[:, None].float(), coarse.shape[-2:])[:, 0]
        nearest_item = output.reading.scores.argmax(1)
        assert ((nearest_item == coarse) & (guesses != coarse)).any()
        for k, row in enumerate(domain["classes"].values()):
            own = coarse == k
            assert row["pixels"] == own.sum()
            if row["pixels"]:
                assert row["own_item"] == pytest.approx((nearest_item == k)[own].float().mean())
                assert row["only_item"] == pytest.approx(((nearest_item == k) & (guesses != k))[own].float().mean())
                assert row["read_weight"] == pytest.approx(output.reading.weights[:, k][own].mean().item(), rel=1e-4)


def test_processes_share_the_images(home: Path, threads: Callable[[int], None], tmp_path: Path) -> None:
    threads(1)
    line = flags(home, f"--memory_report --limit 2 --out {tmp_path}/two")
    first, second = run_ranks(evaluate_and_tell, 2, tmp_path, [line])
    assert "replaced by" in first and f"written to {tmp_path}/two/memory_report" in first and not second
    for file in FILES:
        one, two = (folder / "memory_report" / file for folder in (home / "memory", tmp_path / "two"))
        assert one.read_bytes() == two.read_bytes(), file
    assert Image.open(two).width == 796  # eight patches of 96, 4 between them


# Patches


def test_patches_lie_around_the_nearest_pixel() -> None:
    image = torch.zeros(3, 64, 128, dtype=torch.uint8)
    image[:, 32, 48] = 99
    scores = torch.zeros(3, 4, 8)
    scores[1, 2, 3], scores[1, 0, 0], scores[0, 1, 1], scores[1, 1, 1] = 0.9, 0.5, 0.7, 0.6
    first, second = nearest_patches(scores, image, order=(0, 5))
    assert (first.item, second.item) == (0, 1) and (first.cosine, second.cosine) == pytest.approx((0.7, 0.9))
    assert second.pixels.shape == (96, 96, 3) and (second.pixels[48, 48] == 99).all()
    more = [Patch(1, cosine / 10, (0, index), np.zeros(0)) for index, cosine in enumerate((1, 2, 3, 4, 5, 6, 7, 8))]
    best = best_patches([*more, first, second])
    assert [patch.item for patch in best] == [0] + [1] * MOST and best[1] is second
    assert [patch.cosine for patch in best[1:]] == sorted((patch.cosine for patch in best[1:]), reverse=True)
