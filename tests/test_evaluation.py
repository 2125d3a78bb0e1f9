"""eval.py on labelled domains: flags, ways of inference, repeated noisy reads, several processes."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import eval as evaluation
from datasets.demo import write_demo
from engine.options.evaluation_options import EvaluationOptions, parse_evaluation
from support.ranks import evaluate_and_tell, run_ranks
from support.snapshots import write_snapshot


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("evaluation")
    write_demo(home / "data", domains=["gtav", "bdd100k"], train=1, val=3, size=(64, 128), seed=1, workers=1)
    write_snapshot(home / "memory.pth", memory=True)
    write_snapshot(home / "plain.pth", memory=False)
    return home


def flags(home: Path, line: str) -> list[str]:
    return f"--data_root {home / 'data'} --device cpu --num_workers 0 {line}".split()


def score(home: Path, line: str, where: str) -> dict:
    evaluation.main(flags(home, line))
    return json.loads((home / where / "results.json").read_text())


# Flags


def options_of(line: str) -> EvaluationOptions:
    return parse_evaluation(["--snapshot", "x.pth", *line.split()])


def test_defaults_and_recipes() -> None:
    usual, published = options_of(""), options_of("--recipe published")
    assert usual.subject.datasets == ()  # the checkpoint decides
    assert usual.snapshot.wt_layer is None and (usual.inference.crop_size, usual.inference.overlap) == (768, 1 / 3)
    assert (usual.inference.counts, usual.scoring.gumbel_eval) == ("pixel", 0)
    assert (published.inference.counts, published.scoring.gumbel_eval) == ("row", 1)
    assert options_of("--recipe published --gumbel_off").scoring.gumbel_eval == 0
    assert options_of("--gumbel_eval 7").scoring.gumbel_eval == 7
    pooling = options_of("--inference_mode pooling --scales 0.5,1.0,2.0").inference
    assert pooling.scales == (0.5, 1.0, 2.0) and pooling.flip and not usual.inference.flip


def test_images_without_labels(capsys: pytest.CaptureFixture) -> None:
    folder = parse_evaluation(["--snapshot", "x.pth", "--dataset", "video_folder", "--videopath", "my images"])
    assert not folder.subject.datasets and folder.subject.images == Path("my images")
    assert not capsys.readouterr().err
    with pytest.raises(SystemExit):
        parse_evaluation([])
    assert "required: --snapshot" in capsys.readouterr().err


@pytest.mark.parametrize("order", [1, -1])
def test_given_weights_in_either_folder(order: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    existing, missing = [Path("pretrained_model/x.pth"), Path("pretrained_models/x.pth")][::order]
    existing.parent.mkdir()
    existing.touch()
    for given in (existing, missing):
        assert parse_evaluation(["--snapshot", str(given)]).snapshot.snapshot == existing


# Scores


def test_ways_of_inference(home: Path) -> None:
    common = f"--snapshot {home}/memory.pth --arch DeepR18V3PlusD --dataset bdd100k --limit 1"
    plain = score(home, f"{common} --exp label", "memory/whole")
    assert plain["label"] == "label" and "mean" not in plain
    one_window = f"{common} --inference_mode sliding --crop_size 128 --no_flip"
    sliding = score(home, one_window, "memory/sliding_1.0")
    assert sliding["domains"]["bdd100k"]["classes"] == plain["domains"]["bdd100k"]["classes"]
    score(home, f"{common} --inference_mode sliding --crop_size 48 --recipe published", "memory/sliding_1.0_flip")
    pooling = score(home, f"{common} --inference_mode pooling --scales 0.5,1.5", "memory/pooling_0.5,1.5_flip")
    protocol = pooling["domains"]["bdd100k"]["protocol"]
    assert (protocol["mode"], protocol["scales"], protocol["flip"]) == ("pooling", [0.5, 1.5], True)
    assert (protocol["memory_read"], protocol["reads"], protocol["images"]) == ("softmax", 1, 1)


def test_repeated_noisy_reads(home: Path, capsys: pytest.CaptureFixture) -> None:
    common = f"--dataset gtav bdd100k --limit 2 --snapshot {home}"
    results = score(home, f"{common}/memory.pth --gumbel_eval 3", "memory/whole")
    assert "±" in capsys.readouterr().out
    for numbers in (*results["domains"].values(), results["mean"]):
        ious = [read["mean_iou"] for read in numbers["reads"]]
        assert len(set(ious)) == 3 and numbers["mean_iou"] == pytest.approx(np.mean(ious))
        assert numbers["standard_deviation"]["mean_iou"] == pytest.approx(np.std(ious, ddof=1))
    once = score(home, f"{common}/memory.pth --gumbel_eval 1", "memory/whole")
    assert once["domains"]["gtav"]["mean_iou"] == results["domains"]["gtav"]["reads"][0]["mean_iou"]
    assert "reads" not in once["domains"]["gtav"] and once["domains"]["gtav"]["protocol"]["memory_read"] == "gumbel"
    plain = score(home, f"{common}/plain.pth --gumbel_eval 3", "plain/whole")
    assert "reads" not in plain["mean"] and plain["domains"]["gtav"]["protocol"]["memory_read"] == "none"


def test_processes_share_the_images(home: Path, threads: Callable[[int], None], tmp_path: Path) -> None:
    """Two processes write what one writes, bit for bit: three images, the read noisy, and a folder."""
    images = home / "data" / "bdd-100k" / "images" / "val"
    line = f"--snapshot {home}/memory.pth --gumbel_eval"
    lines = {
        out: [
            flags(home, f"{line} 2 --dataset gtav bdd100k --dump_images --out {home}/{out}"),
            flags(home, f"{line} 1 --images {images} --out {home}/{out}"),
            flags(home, f"{line} 0 --dataset gtav --limit 1 --out {home}/{out}/less"),  # fewer images than processes
        ]
        for out in ("one", "two")
    }
    threads(1)
    for argv in lines["one"]:
        evaluation.main(argv)
    first, second = run_ranks(evaluate_and_tell, 2, tmp_path, lines["two"])
    assert "mean mIoU of 2 domains" in first and "images: 3 labelled" in first and not second
    one, two = (json.loads((home / out / "results.json").read_text()) for out in ("one", "two"))
    assert one["domains"] == two["domains"] and one["mean"] == two["mean"]
    assert one["domains"]["gtav"]["protocol"]["images"] == 3
    names = {path.relative_to(home / "one") for path in (home / "one").rglob("*.*")}
    dumped, labelled, examples, tables, reports, locks = 2 * 3 * 3, 3 * 4, (2 * 3 + 1) * 4, 6, 2, 3
    assert len(names) == dumped + labelled + examples + tables + reports + locks + 1  # and the record of the folder
    assert not [name for name in names if name.suffix == ".partial"]
    for name in names:
        if name.name not in ("results.json", "report.html"):
            assert (home / "one" / name).read_bytes() == (home / "two" / name).read_bytes(), name
