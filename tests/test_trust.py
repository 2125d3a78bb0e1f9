"""Calibration, boundary IoU and entropy against independent formulas, and as options of eval.py."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

import eval as evaluation
from datasets.demo import write_demo
from datasets.labels import ClassSet
from engine.evaluating.scoring import MeasuredMatrix, calibration_result, measured, write_entropy
from engine.options.evaluation_options import MeasureOptions, parse_evaluation
from support.ranks import evaluate_and_tell, run_ranks
from support.snapshots import write_snapshot
from utils.boundaries import BoundaryMatrix
from utils.calibration import Calibration, normalised_entropy
from utils.errors import UsageError
from utils.pictures import heat

SHARE = 0.05


def blobs(seed: int, shape: tuple[int, int], values: list[int], cell: int) -> np.ndarray:
    """A map of blocks with ragged edges."""
    rng = np.random.default_rng(seed)
    rows, columns = (np.arange(side)[:, None] for side in shape)
    coarse = rng.choice(values, (shape[0] // cell + 2, shape[1] // cell + 2)).astype(np.uint8)
    shift = rng.integers(0, 3, shape)
    return coarse[(rows + shift) // cell, (columns.T + shift) // cell]


# Calibration


def test_calibration_by_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    calibration = Calibration()
    bins = [[] for _ in range(15)]  # (confidence, right) of each pixel
    for _ in range(2):
        logits = rng.normal(0, 4, (5, 30, 40))
        probabilities = torch.tensor(logits).softmax(0).float()
        labels = rng.choice([0, 1, 2, 3, 4, 255], (30, 40)).astype(np.uint8)
        predictions = probabilities.argmax(0).to(torch.uint8)
        calibration.update(torch.from_numpy(labels), predictions, probabilities)
        for label, prediction, confidence in zip(
            labels.ravel(),
            predictions.numpy().ravel(),
            probabilities.amax(0).numpy().astype(float).ravel(),
            strict=True,
        ):
            if label < 5:
                number = next(m for m in range(15) if m / 15 < confidence <= (m + 1) / 15)
                bins[number].append((confidence, float(label == prediction)))
    result = calibration_result(calibration.scores())
    pixels = sum(map(len, bins))
    means = [np.mean(rows, axis=0) if rows else (np.nan, np.nan) for rows in bins]
    gaps = [len(rows) / pixels * abs(right - sure) for rows, (sure, right) in zip(bins, means, strict=True) if rows]
    assert result["ece"] == pytest.approx(sum(gaps), abs=1e-7)
    found = [[row["confidence"], row["accuracy"], row["share"]] for row in result["bins"]]
    expected = [[*mean, len(rows) / pixels] for mean, rows in zip(means, bins, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_calibration_by_hand() -> None:
    """Three of four pixels that are sure by 0.9 are right, and one that is sure by 0.5 is wrong; one has no label."""
    confidence = torch.tensor([[0.9, 0.9, 0.9, 0.9, 0.5, 1.0]])
    labels = torch.tensor([[0, 0, 0, 1, 1, 255]], dtype=torch.uint8)
    calibration = Calibration()
    calibration.update(labels, torch.zeros_like(labels), torch.stack([confidence, 1 - confidence]))
    result = calibration_result(calibration.scores())
    assert result["ece"] == pytest.approx(0.8 * 0.15 + 0.2 * 0.5, abs=1e-7)
    assert [k for k, row in enumerate(result["bins"]) if row["share"]] == [7, 13]  # (7/15, 8/15] and (13/15, 14/15]
    assert result["bins"][13] == pytest.approx({"confidence": 0.9, "accuracy": 0.75, "share": 0.8}, abs=1e-7)


@pytest.mark.parametrize("value", [1.0, 1.0000001, float("nan")])
def test_no_confidence_is_outside_of_the_bins(value: float) -> None:
    calibration = Calibration()
    zero = torch.zeros(2, 2, dtype=torch.uint8)
    calibration.update(zero, zero, torch.full((3, 2, 2), value))
    assert calibration.scores()[0].sum() == 4


def test_entropy(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet([0.3] * 7, (4, 5)).transpose(2, 0, 1)
    probabilities[:, 0, 0], probabilities[:, 0, 1] = 1 / 7, np.eye(7)[2]
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = -np.nansum(probabilities * np.log(probabilities), axis=0) / np.log(7)
    found = normalised_entropy(torch.tensor(probabilities)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-12)
    write_entropy(tmp_path / "x.png", torch.tensor(probabilities))
    picture = np.asarray(Image.open(tmp_path / "x.png"))
    assert picture[0, :2].tolist() == [[253, 231, 37], [68, 1, 84]]  # yellow is 1, dark violet 0


# Boundary IoU


def border_by_scipy(mask: np.ndarray, free: np.ndarray, reach: int) -> np.ndarray:
    """The pixels of a mask within ``reach`` of the outside; ``free`` pixels are neither mask nor outside."""
    others = np.pad(~mask & ~free, 1, constant_values=True)
    return mask & (ndimage.distance_transform_cdt(~others, "chessboard") <= reach)[1:-1, 1:-1]


def border_by_opencv(mask: np.ndarray, free: np.ndarray, reach: int) -> np.ndarray:
    """The mask less its erosion, one pixel at a time, on a black ground, as the authors of the paper describe."""
    padded = cv2.copyMakeBorder((mask | free).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    return mask & (cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=reach) == 0)[1:-1, 1:-1]


@pytest.mark.parametrize("border_of", [border_by_scipy, border_by_opencv])
def test_boundary_iou_by_morphology(border_of: Callable) -> None:
    matrix = BoundaryMatrix(5, share=SHARE)
    both, either = np.zeros(5), np.zeros(5)
    for seed, shape in enumerate([(40, 70), (61, 33), (7, 9)]):  # 4, 3 and 1 pixels
        labels, predictions = blobs(seed, shape, [0, 1, 2, 255], 9), blobs(seed + 9, shape, [0, 1, 2, 3], 14)
        predictions = np.where(np.random.default_rng(seed).random(shape) < 0.98, labels % 4, predictions)
        matrix.update(torch.from_numpy(labels), torch.from_numpy(predictions.astype(np.uint8)))
        reach, free = max(1, round(SHARE * np.hypot(*shape))), labels == 255
        for k in range(5):
            sides = [border_of((side == k) & ~free, free, reach) for side in (labels, predictions)]
            both[k] += (sides[0] & sides[1]).sum()
            either[k] += (sides[0] | sides[1]).sum()
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(matrix.scores().iou[:-1].numpy(), both / either, atol=1e-12)
    assert both[:3].all() and (both < either)[:3].all() and not either[4]


def test_boundary_iou_by_hand() -> None:
    """In an image of 9 x 9, a square of 5 x 5 that is predicted one column too far to the right; d is 1."""
    labels, predictions = torch.zeros(2, 9, 9, dtype=torch.uint8).unbind()
    labels[2:7, 2:7], predictions[2:7, 3:8] = 1, 1
    matrix = BoundaryMatrix(2, share=0.02)
    matrix.update(labels, predictions)
    # The squares: rings of 16 pixels, with two rows of 4 in common.  The ground: the image's frame of 32 pixels and the
    # 24 around a square.  On the right 7 of these lie in the frame, so there are 56 and 49 pixels.  44 of them are
    # common: the frame, and the 12 above and below both squares.
    assert matrix.scores().iou[:-1].tolist() == pytest.approx([44 / (56 + 49 - 44), 8 / (16 + 16 - 8)])


def test_ignored_pixels_make_no_contour() -> None:
    """All that is labelled is right: the values are 1, also where the ignored pixels are predicted as anything."""
    labels, predictions = (torch.zeros(30, 40, dtype=torch.uint8) for _ in range(2))
    labels[:, 20:] = predictions[:, 20:] = 1
    labels[10:20, 15:25] = 255
    matrix = BoundaryMatrix(3, share=0.02)
    predictions[10:20, 15:25] = torch.randint(0, 3, (10, 10), dtype=torch.uint8)
    matrix.update(labels, predictions)
    assert matrix.scores().iou[:-1][:2].tolist() == [1, 1] and matrix.scores().iou[:-1][2].isnan()
    assert matrix.counts[0, 0] == 2 * 20 + 2 * 28 - 10  # the frame of a half, less its ignored pixels


def test_254_classes() -> None:
    labels = torch.arange(254, dtype=torch.uint8).view(2, 127)
    matrix = BoundaryMatrix(254, share=0.02)
    matrix.update(labels, labels)
    assert (matrix.scores().iou[:-1] == 1).all()


def test_repeats_are_joined() -> None:
    """Calibration counts the pixels of all repeats; boundary IoU is the mean of the repeats."""
    options = MeasureOptions(calibration=True, boundary_iou=SHARE)
    labels = torch.from_numpy(blobs(0, (20, 30), [0, 1, 255], 8))
    scores, alone = [], []
    for seed in (1, 2):
        matrix = MeasuredMatrix(2, torch.device("cpu"), options)
        probabilities = torch.randn(2, 20, 30, generator=torch.Generator().manual_seed(seed)).softmax(0)
        matrix.update(labels, probabilities.argmax(0).to(torch.uint8), probabilities)
        scores.append(matrix.scores())
        alone.append(measured(scores[-1:], ClassSet(("a", "b"), ((0, 0, 0),) * 2), options))
    joint = measured(scores, ClassSet(("a", "b"), ((0, 0, 0),) * 2), options)
    means = [np.mean([each["boundary_iou"]["per_class"][name] for each in alone]) for name in "ab"]
    assert list(joint["boundary_iou"]["per_class"].values()) == pytest.approx(means)
    assert joint["boundary_iou"]["mean"] == pytest.approx(np.mean(means))
    shares = zip(*([row["share"] for row in each["calibration"]["bins"]] for each in alone), strict=True)
    assert [row["share"] for row in joint["calibration"]["bins"]] == pytest.approx([np.mean(pair) for pair in shares])


# eval.py

MEASURES = "--calibration --boundary_iou --entropy"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("trust")
    write_demo(home / "data", domains=["gtav", "bdd100k"], train=1, val=3, size=(64, 128), seed=1, workers=1)
    write_snapshot(home / "memory.pth", memory=True)
    return home


def flags(home: Path, line: str) -> list[str]:
    return f"--snapshot {home}/memory.pth --data_root {home / 'data'} --device cpu --num_workers 0 {line}".split()


def evaluate(home: Path, out: str, line: str) -> dict:
    evaluation.main(flags(home, f"{line} --out {home / out}"))
    return json.loads((home / out / "results.json").read_text())


@pytest.mark.parametrize(
    "mode",
    [
        "",
        "--inference_mode sliding --crop_size 48 --scales 0.5,1.0",
        "--inference_mode pooling --scales 0.5,1.0",
        "--gumbel_eval 2",
    ],
)
def test_every_mode(mode: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The confidence belongs to what is scored, and the other scores stay as they are."""
    seen = []
    update = Calibration.update

    def spy(self: Calibration, *of: torch.Tensor) -> None:
        seen.append(of)
        update(self, *of)

    monkeypatch.setattr(Calibration, "update", spy)
    line = f"--dataset gtav --limit 1 {mode} --out"
    evaluation.main(flags(home, f"{line} {tmp_path}/with {MEASURES}"))
    evaluation.main(flags(home, f"{line} {tmp_path}/without"))
    more, less = (json.loads((tmp_path / out / "results.json").read_text()) for out in ("with", "without"))
    domain = more["domains"]["gtav"]
    result = {key: domain.pop(key) for key in ("calibration", "boundary_iou")}
    assert more["domains"] == less["domains"] and len(seen) == (2 if "gumbel" in mode else 1)
    for labels, predictions, probabilities in seen:
        assert labels.shape == predictions.shape == probabilities.shape[1:]
        torch.testing.assert_close(probabilities.sum(0), torch.ones(labels.shape))
        chosen = probabilities.gather(0, predictions[None].long())[0]
        torch.testing.assert_close(chosen, probabilities.amax(0), atol=1e-6, rtol=0)
    bins = result["calibration"]["bins"]
    accuracy = sum(row["share"] * row["accuracy"] for row in bins if row["share"])
    assert accuracy == pytest.approx(domain["accuracy"]) and sum(row["share"] for row in bins) == pytest.approx(1)
    assert len(bins) == 15 and set(result["boundary_iou"]["per_class"]) == set(domain["classes"])
    (file,) = (tmp_path / "with" / "gtav_val" / "entropy").rglob("*.png")
    assert np.array_equal(np.asarray(Image.open(file)), heat(normalised_entropy(seen[0][2]).numpy()))


def test_processes_give_the_same_numbers(home: Path, threads: Callable[[int], None], tmp_path: Path) -> None:
    line = f"--dataset gtav bdd100k --gumbel_eval 2 {MEASURES} --out {home}"
    threads(1)
    evaluation.main(flags(home, f"{line}/one"))
    run_ranks(evaluate_and_tell, 2, tmp_path, [flags(home, f"{line}/two")])
    one, two = (json.loads((home / out / "results.json").read_text()) for out in ("one", "two"))
    assert one["domains"] == two["domains"] and one["mean"] == two["mean"]
    for domain in one["domains"].values():
        assert domain["boundary_iou"]["width"].startswith("0.02 of") and 0 < domain["calibration"]["ece"] < 1
    pictures = [
        {path.relative_to(home / out) for path in (home / out).rglob("entropy/**/*.png")} for out in ("one", "two")
    ]
    assert len(pictures[0]) == 6 and pictures[0] == pictures[1]
    assert (home / "one" / "results.csv").read_bytes() == (home / "two" / "results.csv").read_bytes()


def test_tables(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    result = evaluate(home, str(tmp_path), "--dataset gtav bdd100k --limit 1 --calibration --boundary_iou 0.01")
    shown = capsys.readouterr().out
    with (tmp_path / "results.csv").open() as file:
        rows = {row[0]: row for row in csv.reader(file)}
    assert len(set(map(len, rows.values()))) == 1
    for column, domain in ((1, "gtav"), (4, "bdd100k")):
        numbers = result["domains"][domain]
        border, ece = numbers["boundary_iou"]["mean"], numbers["calibration"]["ece"]
        assert (rows["ece"][column], rows["mean_boundary_iou"][column]) == (f"{ece:.4f}", f"{border:.4f}")
        assert (
            f"boundary IoU {100 * border:.1f}   (within 0.01 of the diagonal of each image, at least 1 pixel)" in shown
        )
        assert f"expected calibration error {100 * ece:.1f}   (15 bins)" in shown
    ece = np.mean([result["domains"][domain]["calibration"]["ece"] for domain in result["domains"]])
    assert result["mean"]["ece"] == pytest.approx(ece) and rows["ece"][-1] == f"{ece:.4f}"
    assert "recall  pixels  border\n" in shown


def test_with_target_norm(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    line = "--dataset gtav --target_norm 3 --target_norm_seeds 1 --calibration --boundary_iou"
    domain = evaluate(home, str(tmp_path), line)["domains"]["gtav"]
    normed = domain["target_norm"]["3"]
    assert normed["calibration"]["ece"] != domain["calibration"]["ece"]
    accuracy = sum(row["share"] * row["accuracy"] for row in normed["calibration"]["bins"] if row["share"])
    assert accuracy == pytest.approx(normed["accuracy"]) and normed["boundary_iou"]["mean"] > 0
    assert capsys.readouterr().out.count("expected calibration error") == 2


def test_entropy_of_a_folder(home: Path, tmp_path: Path) -> None:
    """Entropy that is asked for later is added; the other pictures stay the same."""
    images = home / "data" / "bdd-100k" / "images" / "val"
    line = f"--images {images} --out {tmp_path}"
    evaluation.main(flags(home, line))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.png")}
    evaluation.main(flags(home, f"{line} --entropy"))
    after = {path: path.read_bytes() for path in tmp_path.rglob("*.png")}
    assert len(before) == 12 and before.items() <= after.items()
    assert {path.parent.name for path in after.keys() - before.keys()} == {"entropy"} and len(after) == 15


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--images x --calibration", "--images and --calibration exclude each other"),
        ("--images x --boundary_iou", "--images and --boundary_iou exclude each other"),
        ("--target_norm 1 --entropy", "--target_norm and --entropy exclude each other"),
        ("--tsne --calibration", "--tsne and --calibration exclude each other"),
        ("--memory_report --entropy", "--memory_report and --entropy exclude each other"),
    ],
)
def test_what_excludes_each_other(line: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_evaluation(["--snapshot", "x.pth", *line.split()])


@pytest.mark.parametrize("share", ["0", "2", "wide"])
def test_a_share_that_is_none(share: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        parse_evaluation(["--snapshot", "x.pth", "--boundary_iou", share])
    assert f"{share}: give a number from 1e-06 to 1" in capsys.readouterr().err
