"""``eval.py`` with checkpoints of the authors' release."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from test_shipped_scripts import EVALUATE, EVALUATION, call

import eval as evaluation
from checkpoints.release_format import release_content
from datasets.demo import write_demo
from network.deeplab import build_network
from support.release_files import EPOCH, write_release
from tools import compare
from utils.errors import UsageError

ROOT = Path(__file__).parent.parent
R18 = "DeepR18V3PlusD"
pytestmark = pytest.mark.usefixtures("thin_resnet")


@pytest.fixture(scope="module")
def home(checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("releases")
    domains = ["gtav", "synthia", "cityscapes"]
    write_demo(home / "data", domains=domains, train=2, val=2, size=(64, 128), seed=1, workers=1)
    for name in ("theirs.pth", "ours.pth"):
        (home / name).symlink_to(checkpoints / name)
    return home


def evaluate(home: Path, line: str) -> None:
    evaluation.main(f"--data_root {home / 'data'} --device cpu --num_workers 0 {line}".split())


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def test_their_file_scores_like_ours_with_the_same_weights(home: Path, capsys: pytest.CaptureFixture) -> None:
    flags = "--output_stride 16 --dataset gtav cityscapes"
    evaluate(home, f"--snapshot {home}/theirs.pth --arch network.deepv3plus.{R18} --memory {flags}")
    out, err = capsys.readouterr()
    assert out.count("note:") == 1 and "mean mIoU of 2 domains" in out
    assert "warning:" not in err  # a whitened stem would have left its trace
    evaluate(home, f"--snapshot {home}/ours.pth {flags}")
    assert "of output stride 32, used at 16" in capsys.readouterr().out
    theirs, ours = results(home / "theirs/whole"), results(home / "ours/whole")
    assert theirs["domains"] == ours["domains"]
    trained = theirs["trained"]
    facts = {"format": "release", "epoch": EPOCH, "mean_iu": 0.02565273940081578}
    assert trained["origin"] == facts | {"assumed": ["--wt_layer 0 0 0 0 0 0 0"]}
    assert (trained["iteration"], trained["flags"], trained["code"]) == (None, {}, None)
    assert (trained["network"]["arch"], trained["network"]["output_stride"]) == (f"network.deepv3plus.{R18}", 16)
    compare.main([f"theirs={home}/theirs/whole", f"ours={home}/ours/whole"])
    assert "| gtav | not known |" in capsys.readouterr().out


def test_folder_and_figures(home: Path) -> None:
    images = home / "data/synthia/RGB/val"
    evaluate(home, f"--snapshot {home}/theirs.pth --images {images} --limit 1")
    record = json.loads((home / "theirs/whole/val/snapshot.json").read_text())
    assert record["iteration"] is None and record["network"]["arch"].endswith(R18)
    evaluate(home, f"--snapshot {home}/theirs.pth --dataset gtav --mem_actmap --limit 1")
    assert len(list((home / "theirs/memory_activation/gtav_val/sheets").iterdir())) == 1


def test_other_numbers_of_classes_have_no_tables(tmp_path: Path, home: Path) -> None:
    torch.save(release_content(build_network(R18, 7).state_dict()), tmp_path / "x.pth")
    with pytest.raises(UsageError, match=r"x.pth: .* 7 classes.* 19 only"):
        evaluate(home, f"--snapshot {tmp_path}/x.pth --dataset gtav")


def test_the_authors_script_with_their_weights_in_place(home: Path, tmp_path: Path) -> None:
    script = "eval_pinmem_DR50V3P.sh"
    for name in ("tools", EVALUATION):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("eval.py", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    snapshot = tmp_path / "pretrained_model" / EVALUATE[script][1]
    snapshot.parent.mkdir(parents=True)
    write_release(snapshot, "r50v3p_mem")
    small = ("--crop_size", "64", "--num_workers", "0", "--device", "cpu", "--limit", "1")
    done = call(tmp_path / EVALUATION / script, *small, folder=home, DATA_ROOT="data")
    assert done.returncode == 0, done.stderr
    protocol = results(snapshot.with_suffix("") / "sliding_1.0_flip")["domains"]["cityscapes"]["protocol"]
    assert (protocol["memory_read"], protocol["mode"], protocol["window"]) == ("gumbel", "sliding", 64)
