"""eval.py --target_norm: batch norms with the statistics of the target's own images."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from datasets.demo import write_demo
from datasets.images import LabelledImages
from datasets.registry import spec
from datasets.transforms import normalise, to_tensor
from engine.build import network_from
from engine.evaluating.assessment import evaluate
from engine.evaluating.target_norm import batches_of
from engine.options.evaluation_options import parse_evaluation
from network.batch_norms import target_normalised
from support.ranks import run_ranks
from support.snapshots import write_snapshot
from utils.metrics import ConfusionMatrix
from utils.processes import rank


@pytest.mark.parametrize(("number", "side"), [(3, 7), (1, 1)])
def test_the_batch_s_own_statistics(number: int, side: int) -> None:
    """A single value per channel has no variance, and is normalised by the stored statistics."""
    norm = nn.BatchNorm2d(4, eps=1e-3).double()
    for tensor in (norm.weight, norm.bias, norm.running_mean):
        tensor.detach().normal_()
    norm.running_var.uniform_(0.5, 2)
    before = {key: value.clone() for key, value in norm.state_dict().items()}
    x = torch.randn(number, 4, side, side, dtype=torch.float64)
    result = target_normalised(nn.Sequential(norm))(x)
    expected = norm.eval()(x) if number == 1 else F.batch_norm(x, None, None, norm.weight, norm.bias, True, eps=1e-3)
    torch.testing.assert_close(result, expected)
    assert all(torch.equal(norm.state_dict()[key], value) for key, value in before.items())


def test_batches_are_equal_in_size() -> None:
    sizes = [(2, 1)] * 7 + [(3, 1)] * 4 + [(9, 9)]
    for seed in range(5):
        groups = batches_of(sizes, 3, seed)
        assert sorted(index for group in groups for index in group) == list(range(12))
        assert all(len({sizes[index] for index in group}) == 1 for group in groups)
        assert sorted(map(len, groups)) == [1, 1, 1, 3, 3, 3]  # 7 are 3, 3, 1; 4 are 3, 1
        assert groups == batches_of(sizes, 3, seed) != batches_of(sizes, 3, seed + 1)


# Scores

WHOLE = {"bdd100k": [[0, 3, 4], [1, 2]], "gtav": [[0, 1, 2]]}  # batches that no seed changes, one for each size


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images of one domain, two of them with another size, and three images of another domain."""
    home = tmp_path_factory.mktemp("target_norm")
    write_demo(home / "data", domains=["bdd100k"], train=1, val=5, size=(64, 128), seed=1, workers=1)
    write_demo(home / "data", domains=["gtav"], train=1, val=3, size=(64, 128), seed=2, workers=1)
    for sample in LabelledImages(spec("bdd100k"), home / "data", "val").samples[1:3]:
        for path in (sample.image, sample.label):
            Image.open(path).resize((96, 64), Image.NEAREST).save(path)
    write_snapshot(home / "memory.pth", memory=True)
    return home


def score(home: Path, line: str, out: str) -> dict | None:
    """The results, from the process that wrote them."""
    common = f"--snapshot {home}/memory.pth --data_root {home}/data --out {home}/{out} --device cpu --num_workers 0"
    evaluate(parse_evaluation(f"{common} {line}".split()))
    return json.loads((home / out / "results.json").read_text()) if rank() == 0 else None


def test_scores(home: Path, capsys: pytest.CaptureFixture) -> None:
    domains = "--dataset bdd100k gtav"
    results = score(home, f"{domains} --target_norm 2 8 1 8 --target_norm_seeds 2", "normed")
    assert capsys.readouterr().out.count("with the statistics of 2 images at a time") == 2
    plain = score(home, domains, "plain")
    for name, domain in results["domains"].items():
        normed = domain.pop("target_norm")
        assert domain == plain["domains"][name]  # the ordinary score
        assert list(normed) == ["2", "8", "1"] and "standard_deviation" not in normed["1"]
        assert (normed["1"]["protocol"]["seeds"], normed["2"]["protocol"]["seeds"]) == (1, 2)
        ious = [seed["mean_iou"] for seed in normed["2"]["seeds"]]
        assert len(set(ious)) > 1 and normed["2"]["mean_iou"] == pytest.approx(np.mean(ious))
        assert normed["2"]["standard_deviation"]["mean_iou"] == pytest.approx(np.std(ious, ddof=1))
        assert normed["8"]["mean_iou"] == pytest.approx(reference(home, name, WHOLE[name]), abs=1e-6)
        assert normed["8"]["protocol"]["batches"] == len(WHOLE[name])


@torch.no_grad()
def reference(home: Path, name: str, groups: Sequence[Sequence[int]]) -> float:
    """The mean IoU of the same network with torch's batch norms in training."""
    content = torch.load(home / "memory.pth", weights_only=True)
    net = network_from(content["network"]).eval()
    net.load_state_dict(content["weights"])
    for module in net.modules():
        module.train(isinstance(module, nn.BatchNorm2d))
    net.training = False
    images, matrix = LabelledImages(spec(name), home / "data", "val"), ConfusionMatrix(19)
    for group in groups:
        pictures = torch.stack([to_tensor(images[index][0]) for index in group])
        for index, prediction in zip(group, net(normalise(pictures)).logits.argmax(1), strict=True):
            matrix.update(torch.from_numpy(images[index][1].copy()), prediction)
    return matrix.scores().mean_iou


def test_two_processes_equal_one(home: Path, tmp_path: Path, threads: Callable[[int], None]) -> None:
    line = "--dataset bdd100k --target_norm 2 1 --target_norm_seeds 2 --gumbel_eval 1"
    threads(1)
    one = score(home, line, "one")
    two, _ = run_ranks(score, 2, tmp_path, home, line, "two")
    assert one["domains"] == two["domains"]
    noisy = one["domains"]["bdd100k"]["target_norm"]["1"]
    assert noisy["protocol"]["seeds"] == 2 and noisy["standard_deviation"]["mean_iou"] > 0  # the noise of a read
