"""Runs on data sets of one's own: training, evaluation, figures, resume, and what does not go together."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import eval as evaluation
import train as training
from engine.options.training_command import parse_training
from engine.report.records import read_record
from support.own_data import write_classes, write_own
from support.snapshots import write_snapshot
from tools import compare, visualise
from tools.convert import released
from utils.errors import UsageError

pytestmark = pytest.mark.usefixtures("thin_resnet")

OWN = 'classes: {ground: "10,20,30", thing: "200,0,0", the sky: }\n'
NAMES = ["ground", "thing", "the sky"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders called city with three classes of their own, one of them as ids 7, 8 and 9, and a run on both."""
    home = tmp_path_factory.mktemp("own")
    write_classes(write_own(home / "a" / "city", suffix=".jpg"), OWN)
    write_classes(
        write_own(home / "b" / "city", ["train/x", "train/y", "val/z"], ids=(7, 8, 9)),
        OWN + "ids: {7: ground, 8: thing, 9: the sky}",
    )
    write_own(home / "standard")
    training.main(flags(home, "--max_iter", "2", "--dump_augmentation_images"))
    return home


def flags(home: Path, *more: str) -> list[str]:
    line = (
        "--val_dataset --arch DeepR18V3PlusD --pretrained_backbone none --device cpu --crop_size 64 --bs_mult 2 "
        "--num_workers 0 --exp run --mldg --memory --mem_init_batches 1 --class_uniform_pct 0.5 --img_wt_loss"
    )
    sets = ["--dataset", f"custom:{home / 'a' / 'city'}", "custom:b/city", "--data_root", str(home)]
    return [*line.split(), *sets, "--exp_root", str(home / "runs"), *more]


def score(home: Path, out: Path, *more: str) -> dict:
    snapshot = next(home.glob("runs/run/*/last.pth"))
    line = ["--snapshot", str(snapshot), "--device", "cpu", "--num_workers", "0", "--out", str(out)]
    evaluation.main([*line, "--data_root", str(home), *more])
    return json.loads((out / "results.json").read_text()) if (out / "results.json").exists() else {}


def test_a_run_has_the_classes_of_its_data(home: Path, capsys: pytest.CaptureFixture) -> None:
    training.main(flags(home, "--plan", "--max_iter", "5"))
    printed = capsys.readouterr().out
    assert "classes     3: ground, thing, the sky" in printed and "source      b_city: 2 images" in printed
    assert printed.count("note: city: has neither train.txt and val.txt") == 1
    (run,) = home.glob("runs/run/*")
    content = torch.load(run / "last.pth", weights_only=True)
    config = content["network"]
    assert (config["num_classes"], config["memory"]["slots"], config["classes"]["names"]) == (3, 3, NAMES)
    assert config["classes"]["colours"][:2] == [[10, 20, 30], [200, 0, 0]]
    assert content["weights"]["memory.items"].shape[0] == content["weights"]["classifier.weight"].shape[0] == 3
    printed = json.loads((run / "flags.json").read_text())
    assert list(printed["training data"]) == ["city", "b_city"]
    assert [data["images"] for data in printed["training data"].values()] == [4, 2]
    assert printed["flags"]["dataset"] == [f"custom:{home}/{name}/city" for name in "ab"]
    sample = np.asarray(Image.open(run / "augmentation" / "iteration_0000000.png")).reshape(-1, 3)
    assert (sample == (200, 0, 0)).all(1).mean() > 0.05  # its labels, in own colours
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {row["domain"] for row in rows if row["kind"] == "validation"} == {"city", "b_city"}


def test_defaults_are_the_sources(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """The usual domains, which nobody has named, have other classes."""
    training.main([*flags(home, "--plan", "--max_iter", "5")[1:]])
    printed = capsys.readouterr()
    assert "note: no --val_dataset, so these are validated: held-out images of the sources\n" in printed.err
    assert "b_city (seen)" in printed.out and "unseen" not in printed.out
    assert list(score(home, tmp_path)["domains"]) == ["city", "b_city"]
    assert "note: no --dataset, so these are taken: custom:" in capsys.readouterr().err
    assert parse_training(["--dataset", "idd", "--data_root", str(home)]).run.targets[0] == "cityscapes"


def test_results_and_pictures_have_the_classes(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "out"
    results = score(home, out, "--dataset", f"custom:{home}/a/city", "custom:b/city", "--dump_images")
    printed = capsys.readouterr().out
    assert list(results["domains"]) == read_record(out).sources == ["city", "b_city"]
    assert "the sky" in printed and "sidewalk" not in printed
    assert [domain["protocol"]["images"] for domain in results["domains"].values()] == [1, 1]  # what was held out
    for domain in results["domains"].values():
        assert list(domain["classes"]) == NAMES
    table = (out / "results.csv").read_text().splitlines()
    assert [row.partition(",")[0] for row in table[1:4]] == NAMES
    picture = np.asarray(Image.open(out / "b_city_val" / "colours" / "z.png")).reshape(-1, 3)
    seen = {tuple(colour) for colour in np.unique(picture, axis=0).tolist()}
    assert seen <= {tuple(colour) for colour in results["trained"]["network"]["classes"]["colours"]}

    compare.main([f"own={out}"])
    assert "| b_city | seen |" in capsys.readouterr().out
    visualise.main([str(tmp_path / "sheet.jpg"), "--dataset", f"custom:{home}/a/city", f"custom:{home}/b/city",
                    "--index", "0", "--data_root", str(home)])  # fmt: skip
    assert (tmp_path / "sheet.jpg").stat().st_size


def test_figures_and_folders_have_the_classes(home: Path, tmp_path: Path) -> None:
    score(home, tmp_path / "t", "--dataset", "custom:b/city", "custom:a/city", "--tsne", "--pca", "--split", "val")
    (file,) = tmp_path.glob("t/tsne/city_a_city_val/*.npz")
    with np.load(file) as cloud:
        assert {*cloud["class"], *cloud["item_class"]} == {*NAMES} and {*cloud["domain"]} == {"city", "a_city"}
        assert json.loads(str(cloud["settings"]))["sources"] == ["a_city", "city"]
    score(home, tmp_path / "m", "--dataset", "custom:b/city", "--mem_actmap")
    folders = {path.name for path in tmp_path.glob("m/memory_activation/city_val/plain/*")}
    assert folders == {"ground", "thing", "the_sky"}
    other = write_classes(write_own(tmp_path / "other", suffix=".bmp"), OWN)  # not trained on, so all images are scored
    scores = score(home, tmp_path / "o", "--dataset", f"custom:{other}", "--target_norm", "2")["domains"]["other"]
    assert scores["protocol"]["images"] == 5 and scores["target_norm"]["2"]["classes"].keys() == {*NAMES}
    score(home, tmp_path / "f", "--images", str(home / "b" / "city" / "images" / "val"))
    assert {path.name for path in tmp_path.glob("f/val/[!.]*")} == {"colours", "overlay", "train_ids", "snapshot.json"}
    assert np.asarray(Image.open(tmp_path / "f" / "val" / "train_ids" / "z.png")).max() < 3


def test_a_run_goes_on_and_refuses_other_classes(home: Path) -> None:
    (run,) = home.glob("runs/run/*")
    training.main(flags(home, "--max_iter", "3", "--resume", str(run)))
    assert (run / "iteration_0000003.pth").exists()
    files = {path: path.read_text() for path in home.glob("*/city/classes.yaml")}
    other = "another list of classes: there ground, thing, the sky, here ground, object"
    try:
        for path, text in files.items():
            path.write_text(text.replace("thing", "object"))
        with pytest.raises(UsageError, match=f"--resume .*: {other}"):
            training.main(flags(home, "--max_iter", "4", "--resume", str(run)))
        with pytest.raises(UsageError, match=f"--snapshot .*: {other}"):
            training.main(flags(home, "--max_iter", "1", "--snapshot", str(run / "last.pth"), "--exp", "other"))
    finally:
        for path, text in files.items():
            path.write_text(text)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("--val_dataset custom:standard", r"custom:.*/standard has the 19 classes of Cityscapes, but custom:.*/a/city"),
        ("--cls_wt_loss", r"--cls_wt_loss: has the weights of the 19 classes of Cityscapes, and these"),
        ("--mem_slot 2", r"--mem_slot 2: every one of the 3 classes needs a slot"),
        ("--jointwtborder --strict_bdr_cls 1,3", r"--strict_bdr_cls: 3: give classes from 0 to 2"),
    ],
)
def test_what_does_not_go_together(home: Path, more: str, expected: str, capsys: pytest.CaptureFixture) -> None:
    line = [flag for flag in flags(home, "--max_iter", "1", *more.split()) if flag != "--img_wt_loss"]
    with pytest.raises((UsageError, SystemExit)) as raised:
        training.main(line)
    printed = capsys.readouterr().err if isinstance(raised.value, SystemExit) else str(raised.value)
    assert re.search(expected, printed) and len(printed.strip().splitlines()) == 1


def test_standard_classes_are_mapped_to(home: Path, tmp_path: Path) -> None:
    """A checkpoint without names is one of the 19 classes, and own ids can be mapped to these."""
    own = write_own(tmp_path / "own", ["one"], ids=(7, 8, 23), suffix=".tiff")
    write_classes(own, "ids: {7: road, 8: sidewalk, 23: sky, others: ignore}")
    snapshot = write_snapshot(tmp_path / "last.pth", memory=False)
    line = ["--snapshot", str(snapshot), "--device", "cpu", "--num_workers", "0", "--out", str(tmp_path / "out")]
    evaluation.main([*line, "--dataset", f"custom:{own}"])
    domain = json.loads((tmp_path / "out" / "results.json").read_text())["domains"]["own"]
    assert len(domain["classes"]) == 19 and domain["classes"]["sky"]["share"] > 0.3
    with pytest.raises(UsageError, match=r"custom:.*city: has 3 classes .*, but --snapshot .* the 19 classes"):
        evaluation.main([*line, "--dataset", f"custom:{home}/a/city"])


def test_a_network_of_the_authors_takes_names_from_the_data(home: Path, tmp_path: Path) -> None:
    """Their files hold no names, so a class set of the same size must be given."""
    content = torch.load(next(home.glob("runs/run/*/last.pth")), weights_only=True)
    path = tmp_path / "theirs.pth"
    torch.save(released({**content, "flags": {}}), path)
    line = ["--snapshot", str(path), "--device", "cpu", "--num_workers", "0", "--out", str(tmp_path / "out")]
    evaluation.main([*line, "--dataset", f"custom:{home}/b/city"])
    domain = json.loads((tmp_path / "out" / "results.json").read_text())["domains"]["city"]
    assert list(domain["classes"]) == NAMES
    with pytest.raises(UsageError, match=r"its network has 3 classes, but"):
        evaluation.main([*line, "--images", str(home / "standard" / "images")])
