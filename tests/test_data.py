"""What train.py and eval.py print and keep about the data."""

import json
from pathlib import Path

import pytest

import eval as evaluation
import train as training
from datasets.demo import write_demo

pytestmark = pytest.mark.usefixtures("thin_resnet")

WARNING = "divided by a rule of this project"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("official")
    domains = ["gtav", "synthia", "bdd100k"]
    write_demo(home / "data", domains=domains, train=9, val=3, size=(64, 128), layout="official", workers=1)
    return home


def flags(home: Path, *more: object) -> list[str]:
    line = (
        "--dataset gtav synthia --val_dataset bdd100k --arch DeepR18V3PlusD --pretrained_backbone none --device cpu "
        "--crop_size 32 --bs_mult 2 --max_iter 1 --num_workers 0 --exp run"
    )
    return [*line.split(), "--data_root", str(home / "data"), "--exp_root", str(home / "runs"), *map(str, more)]


def test_plan_run_and_scores_say_how_the_data_were_divided(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training.main(flags(home, "--plan"))
    printed = capsys.readouterr().out
    assert "gtav: 9 images (12,388 expected)" in printed and "the official layout since 2021 in" in printed
    assert printed.count("the official, flat layout in") == 4 and printed.count("split by split.mat") == 2
    assert printed.count("split by our rule, seed 304") == 2 and printed.count(WARNING) == 1

    lists = home / "data" / "RAND_CITYSCAPES" / "split_data"
    training.main(flags(home, "--split_file", lists))
    printed = capsys.readouterr().out
    (run,) = home.glob("runs/run/*")
    kept = json.loads((run / "flags.json").read_text())["training data"]
    assert kept["gtav"]["split_by"] == "split.mat" and kept["gtav"]["layout"] == "the official, flat layout"
    assert kept["synthia"]["split_by"] == "the list synthia_split_train.txt" and kept["synthia"]["images"] == 9
    assert f"split by the list synthia_split_train.txt, {kept['synthia']['hash']}" in printed and WARNING not in printed

    snapshot = ["--snapshot", str(run / "last.pth"), "--data_root", str(home / "data"), "--device", "cpu"]
    evaluation.main([*snapshot, "--dataset", "synthia", "--num_workers", "0", "--out", str(home / "out")])
    printed = capsys.readouterr().out
    protocol = json.loads((home / "out" / "results.json").read_text())["domains"]["synthia"]["protocol"]
    assert (protocol["split_by"], protocol["layout"]) == ("our rule, seed 304", "the official, flat layout")
    assert protocol["images_expected"] == 2820 and printed.count(WARNING) == 1

    moved = lists.rename(home / "lists")
    longer = ["--max_iter", "2", "--split_file", str(moved), "--resume", str(run)]
    training.main(flags(home, *longer))  # the same images, from another place
    (moved / "synthia_split_train.txt").write_text("0000001.png\n")
    with pytest.raises(Exception, match=r"started with other images of synthia"):
        training.main(flags(home, "--max_iter", "3", "--split_file", str(moved), "--resume", str(run)))
