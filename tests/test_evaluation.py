"""eval.py: flags, ways of inference, repeated noisy reads, several processes."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import eval as evaluation
from datasets.demo import write_demo
from engine.options.eval_flags import parse_evaluation
from support.ranks import evaluate_and_tell, run_ranks
from support.snapshots import write_snapshot
from utils.errors import UsageError


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

RELEASE = (
    "--dataset cityscapes --inference_mode sliding --scales 1.0 --split val --crop_size 768 --dump_images --memory"
)


def test_the_release_s_flags(capsys: pytest.CaptureFixture) -> None:
    dead = "--faster --syncbn --dist_bn --profile --trunk x --dataset_dir x --dataset_cls x --resume --cv_split 0"
    args = parse_evaluation(
        f"--snapshot x.pth {RELEASE} {dead} --trials 1 --visualize_feature --mode fine --local_rank 1".split()
    )
    assert capsys.readouterr().err.count("no effect") == 12
    assert args.scales == (1.0,) and args.dataset == ["cityscapes"] and args.sliding_counts == "pixel"
    args = parse_evaluation(["--snapshot", "x.pth", "--scales", "0.5,1.0,2.0", "--inference_mode", "pooling"])
    assert args.scales == (0.5, 1.0, 2.0) and args.crop_size == 768 and args.sliding_overlap == 1 / 3
    published = parse_evaluation(["--snapshot", "x.pth", "--recipe", "published"])
    assert (published.sliding_counts, published.gumbel_eval) == ("row", 1)
    assert parse_evaluation(["--snapshot", "x.pth", "--recipe", "published", "--gumbel_off"]).gumbel_eval == 0
    assert parse_evaluation(["--snapshot", "x.pth", "--gumbel_eval", "7"]).gumbel_eval == 7
    folder = parse_evaluation(["--snapshot", "x.pth", "--dataset", "video_folder", "--videopath", "my images"])
    assert folder.dataset is None and folder.images == Path("my images")
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--scales 0.5,1.0", "--inference_mode pooling (or sliding)"),
        ("--scales 1.0,x --inference_mode pooling", "--scales: 1.0,x: give different numbers above 0"),
        ("--scales 1.0,1 --inference_mode pooling", "give different numbers"),
        ("--scales 0 --inference_mode pooling", "give different numbers"),
        ("--scales 1e9 --inference_mode pooling", "at most 8"),
        ("--sliding_overlap 1", "give a share below 1"),
        ("--sliding_overlap -0.1", "from 0 to 1"),
        ("--crop_size 0", "of 1 or more"),
        ("--gumbel_eval -1", "of 0 or more"),
        ("--gumbel_off --gumbel_eval 2", "drop one of them"),
        ("--dataset video_folder", "--videopath DIR"),
        ("--dataset video_folder gtav", "no data set is called video_folder"),
        ("--images x --dataset gtav", "give one of them"),
        ("--images x --gumbel_eval 3", "give 0 or 1"),
        ("--dataset gta", "no data set is called gta"),
        ("--inference_mode slide", "invalid choice"),
    ],
)
def test_mistakes_exit_with_2(line: str, told: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse_evaluation(["--snapshot", "x.pth", *line.split()])
    assert stopped.value.code == 2 and told in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--snapshot {home}/plain.pth --arch network.deepv3plus.DeepR50V3PlusD", "give --arch DeepR18V3PlusD"),
        ("--snapshot {home}/plain.pth --wt_layer 0 0 4 4 4 0 0", "other norms; give --wt_layer 0 0 0 0 0 0 0"),
        ("--snapshot {home}/plain.pth --memory", "holds none; drop --memory"),
        ("--snapshot {home}/plain.pth --images {home}/absent", "no image here"),
        ("--snapshot {home}/plain.pth --dataset gtav --out {home}/plain.pth/x", "cannot be made a folder"),
    ],
)
def test_contradictions_are_told_in_one_line(line: str, told: str, home: Path) -> None:
    with pytest.raises(UsageError) as error:
        evaluation.main(flags(home, line.format(home=home)))
    assert told in str(error.value) and "\n" not in str(error.value)


def test_given_weights_in_either_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    line = ["--snapshot", "pretrained_models/a/x.pth"]
    assert parse_evaluation(line).snapshot == Path(line[1])
    (tmp_path / "pretrained_model/a").mkdir(parents=True)
    (tmp_path / "pretrained_model/a/x.pth").touch()
    assert parse_evaluation(line).snapshot == Path("pretrained_model/a/x.pth")
    (tmp_path / "pretrained_models").symlink_to("pretrained_model")
    assert parse_evaluation(line).snapshot == Path(line[1])
    (tmp_path / "pretrained_models").unlink()
    (tmp_path / "pretrained_model").rename(tmp_path / "pretrained_models")
    assert parse_evaluation(["--snapshot", "pretrained_model/a/x.pth"]).snapshot == Path(line[1])


# Scores


def test_ways_of_inference(home: Path) -> None:
    common = f"--snapshot {home}/memory.pth --arch DeepR18V3PlusD --dataset bdd100k --limit 1 --exp label"
    plain = score(home, common, "memory/whole")
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
    assert "has no memory" in capsys.readouterr().out


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
    assert "mean mIoU of 2 domains" in first and "3 images labelled" in first and not second
    one, two = (json.loads((home / out / "results.json").read_text()) for out in ("one", "two"))
    assert one["domains"] == two["domains"] and one["mean"] == two["mean"]
    assert one["domains"]["gtav"]["protocol"]["images"] == 3
    names = {path.relative_to(home / "one") for path in (home / "one").rglob("*.*")}
    assert len(names) == 2 * 3 * 3 + 3 * 4 + 5 and not [name for name in names if name.suffix == ".partial"]
    for name in names:
        if name.name != "results.json":
            assert (home / "one" / name).read_bytes() == (home / "two" / name).read_bytes(), name
