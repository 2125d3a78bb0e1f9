"""The main job on demo data: train, evaluate, compare."""

import json
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image

import eval as evaluation
import train as training
from datasets.labels import CLASSES
from support.logs import log_rows, repeatable
from tools import compare, visualise
from utils.errors import UsageError
from utils.pictures import GAP, TITLE
from utils.program import run_program

pytestmark = pytest.mark.usefixtures("thin_resnet")
METHODS = {"baseline": [], "mldg": ["--mldg"], "memory": ["--memory"], "pinmem": ["--mldg", "--memory"]}


def flags(data: Path, out: Path, *extra: str) -> list[str]:
    line = (
        f"--data_root {data} --exp_root {out} --val_dataset mapillary --mapillary_crop 0 --arch DeepR18V3PlusD "
        "--pretrained_backbone none --crop_size 64 --bs_mult 2 --max_iter 3 --val_interval 2 --log_interval 2 "
        "--num_workers 0 --mem_init_batches 2 --device cpu --color_aug 0.5 --gblur"
    )
    return [*line.split(), *extra]


def only(paths: Iterable[Path]) -> Path:
    (path,) = paths
    return path


@pytest.mark.parametrize("method", METHODS)
def test_train_and_evaluate(method: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    training.main(flags(data, tmp_path, "--exp", method, *METHODS[method]))
    run = only((tmp_path / method).iterdir())
    check_log(run)
    evaluation.main(
        f"--snapshot {run / 'last.pth'} --dataset gtav mapillary --data_root {data} --mapillary_crop 48 "
        "--num_workers 0 --device cpu --dump_images".split()
    )
    check_results(run / "last" / "whole", capsys.readouterr().out)


def check_log(run: Path) -> None:
    rows = log_rows(run)
    kinds = ("train", "pace", "validation")
    train, pace, validations = ([row for row in rows if row["kind"] == kind] for kind in kinds)
    assert [row["iteration"] for row in train] == [1, 2, 3] and train[0]["lr"] == 0.01
    assert [row["iteration"] for row in pace] == [2, 3]
    assert all(row["seconds"] > 0 and 0 <= row["waiting"] <= 1 for row in pace)
    domains = [("gtav", "seen"), ("synthia", "seen"), ("mapillary", "unseen")]
    scored = [(row["iteration"], row["domain"], row["role"]) for row in validations]
    assert scored == [(iteration, *domain) for iteration in (2, 3) for domain in domains]
    events = only((run / "tensorboard").iterdir()).read_bytes()
    for tag in ("train/lr", "validation/gtav/seen/mean_iou", "validation/mapillary/unseen/mean_iou"):
        assert tag.encode() in events
    last, best = (torch.load(run / f"{name}.pth", weights_only=True) for name in ("last", "best"))
    assert last["iteration"] == 3 and last["flags"]["dataset"] == ["gtav", "synthia"] and last["optimizer"]["state"]
    first, second = (sum(row["mean_iou"] for row in validations[at : at + 2]) for at in (0, 3))  # of gtav and synthia
    assert best["iteration"] == (2 if first >= second else 3)
    assert json.loads((run / "flags.json").read_text())["training data"]["gtav"]["images"] == 4


def check_results(out: Path, printed: str) -> None:
    result = json.loads((out / "results.json").read_text())
    assert list(result["domains"]) == ["gtav", "mapillary"]
    for domain in result["domains"].values():
        assert domain["protocol"]["images"] == 2 and domain["protocol"]["mode"] == "whole"
        assert len(domain["protocol"]["images_hash"]) == 16
        assert list(domain["classes"]) == list(CLASSES)
        assert sum(row["share"] for row in domain["classes"].values()) == pytest.approx(1)
    assert "48x48" in result["domains"]["mapillary"]["protocol"]["geometry"]
    header, *rows = (out / "results.csv").read_text().splitlines()
    assert header.startswith("class,gtav iou,gtav precision,gtav recall") and header.endswith(",mean")
    assert len(rows) == 19 + 3 and rows[19].startswith("mean_iou,") and result["mean"]["mean_iou"] > 0
    assert "traffic light" in printed and "mean mIoU of 2 domains" in printed
    for kind in ("colours", "overlay", "errors"):
        assert len(list((out / "gtav_val" / kind).glob("*.png"))) == 2


def test_same_seed_same_run(data: Path, tmp_path: Path) -> None:
    for name, workers in (("first", "0"), ("second", "2")):
        training.main(flags(data, tmp_path, "--exp", name, *METHODS["pinmem"], "--num_workers", workers))
    runs = [only((tmp_path / name).iterdir()) for name in ("first", "second")]
    first, second = (torch.load(run / "last.pth", weights_only=True)["weights"] for run in runs)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert repeatable(runs[0]) == repeatable(runs[1])


def test_one_domain_and_a_repeated_one(data: Path, tmp_path: Path) -> None:
    training.main(flags(data, tmp_path, "--dataset", "gtav", "--memory", "--max_iter", "1"))
    training.main(flags(data, tmp_path, "--dataset", "gtav", "gtav", *METHODS["pinmem"], "--max_iter", "1"))


def test_comparison(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    training.main(flags(data, tmp_path, "--exp", "a", "--max_iter", "1"))
    snapshot = only((tmp_path / "a").rglob("last.pth"))
    line = f"--snapshot {snapshot} --data_root {data} --num_workers 0 --device cpu --out {tmp_path}/r"
    evaluation.main([*line.split(), "--dataset", "mapillary", "gtav", "--mapillary_crop", "0"])
    compare.main([f"first={tmp_path / 'r'}", f"second={tmp_path / 'r'}", "--out", str(tmp_path / "c.md")])
    text = (tmp_path / "c.md").read_text()
    assert text.index("| gtav | seen |") < text.index("| mapillary | unseen |") and "| first | second |" in text
    sheet = tmp_path / "pictures" / "sheet.png"
    evaluation.main([*line.split(), "--dataset", "gtav", "--dump_images"])
    visualise.main(
        [str(sheet), "--data_root", str(data), "--dataset", "gtav", "--results", f"a={tmp_path}/r", "--width", "64"]
    )
    with Image.open(sheet) as picture:
        assert picture.size == (3 * 64 + 2 * GAP, TITLE + 32)


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_results_that_cannot_be_compared(content: str | None, tmp_path: Path) -> None:
    if content:
        (tmp_path / "results.json").write_text(content)
    with pytest.raises(UsageError, match=r"results\.json: cannot be used"):
        compare.main([f"x={tmp_path}"])


@pytest.mark.parametrize(
    ("tool", "line", "message"),
    [
        (compare, "x", "x: give NAME=DIR"),
        (visualise, "s.png --dataset gtav --results =x", "=x: give NAME=DIR"),
        (visualise, "sheet.pdf --dataset gtav", "sheet.pdf: give a name that ends in .jpg"),
        (
            visualise,
            "s.png --dataset gtav --index 99 --data_root {data}",
            "--index 99: gtav (val) has 2 images; give 0 to 1",
        ),
    ],
)
def test_mistakes_of_the_tools(
    tool: ModuleType, line: str, message: str, data: Path, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as end:
        run_program("tool", lambda: tool.main(line.format(data=data).split()))
    assert end.value.code == 2 and message in capsys.readouterr().err
