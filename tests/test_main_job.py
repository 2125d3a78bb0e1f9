"""The main job on demo data: train, evaluate, compare; and the mistakes that are answered with one line."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image

import eval as evaluation
import train as training
from datasets.labels import CLASSES
from engine import program as programs
from support.logs import log_rows, repeatable
from tools import compare, visualise
from utils.errors import UsageError

pytestmark = pytest.mark.usefixtures("thin_resnet")

ROOT = Path(__file__).parent.parent
METHODS = {"baseline": [], "mldg": ["--mldg"], "memory": ["--memory"], "pinmem": ["--mldg", "--memory"]}


def flags(data: Path, out: Path, *extra: str) -> list[str]:
    line = (
        f"--data_root {data} --exp_root {out} --val_dataset mapillary --mapillary_crop 0 --arch DeepR18V3PlusD "
        "--pretrained_backbone none --crop_size 64 --bs_mult 2 --max_iter 3 --val_interval 2 --log_interval 2 "
        "--num_workers 0 --mem_init_batches 2 --device cpu --color_aug 0.5 --gblur"
    )
    return [*line.split(), *extra]


def only(paths) -> Path:
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
    train = [row for row in rows if row["kind"] == "train"]
    assert [row["iteration"] for row in train] == [1, 2, 3] and train[0]["lr"] == 0.01
    validations = [(row["iteration"], row["domain"], row["role"]) for row in rows if row["kind"] == "validation"]
    domains = [("gtav", "seen"), ("synthia", "seen"), ("mapillary", "unseen")]
    assert validations == [(done, *domain) for done in (2, 3) for domain in domains]
    pace = [row for row in rows if row["kind"] == "pace"]
    assert [row["iteration"] for row in pace] == [2, 3]
    assert all(row["seconds"] > 0 and 0 <= row["waiting"] <= 1 for row in pace)
    (events,) = (run / "tensorboard").iterdir()
    for tag in (
        b"train/lr",
        b"validation/gtav/seen/mean_iou",
        b"validation/mapillary/unseen/mean_iou",
        b"unseen/mapillary",
    ):
        assert tag in events.read_bytes()
    last, best = (torch.load(run / f"{name}.pth", weights_only=True) for name in ("last", "best"))
    assert last["iteration"] == 3 and best["iteration"] in (2, 3)
    assert last["flags"]["dataset"] == ["gtav", "synthia"] and last["optimizer"]["state"]
    held_out = {
        done: [row for row in rows if row.get("role") == "seen" and row["iteration"] == done] for done in (2, 3)
    }
    means = {done: sum(row["mean_iou"] for row in group) for done, group in held_out.items()}
    assert best["iteration"] == max(means, key=means.get)
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


def test_a_loss_that_is_not_finite_stops_with_its_terms(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"iteration \d: a loss is not finite \(seg .*aux"):
        training.main(flags(data, tmp_path, "--lr", "1e30"))
    assert not list(tmp_path.rglob("last.pth"))  # nothing broken was saved


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
        assert picture.size == (3 * 64, visualise.TITLE + 32)
    with pytest.raises(UsageError, match=r"--index 99: gtav \(val\) has \d+ images; give 0 to"):
        visualise.main([str(sheet), "--data_root", str(data), "--dataset", "gtav", "--index", "99"])
    for text, told in ((None, "No such file"), ("{", "not JSON"), ("[]", "not written by eval.py")):
        (tmp_path / "results.json").unlink(missing_ok=True)
        if text:
            (tmp_path / "results.json").write_text(text)
        with pytest.raises(UsageError, match=rf"results\.json: cannot be used \({told}"):
            compare.main([f"x={tmp_path}"])


@pytest.mark.parametrize("tool", [compare, visualise])
def test_results_have_names_of_their_own(tool: ModuleType, capsys: pytest.CaptureFixture) -> None:
    flags = ["s.png", "--dataset", "gtav", "--results"] if tool is visualise else []
    for results, told in ((["a=x", "a=y"], "a=y"), (["x"], "x"), (["=x"], "=x")):
        with pytest.raises(SystemExit) as stopped:
            tool.main([*flags, *results])
        told = f"{told}: give NAME=DIR, each with another name"
        assert stopped.value.code == 2 and told in capsys.readouterr().err


def test_a_sheet_is_a_picture(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        visualise.main(["sheet.pdf", "--dataset", "gtav"])
    assert stopped.value.code == 2 and "sheet.pdf: give a name that ends in .jpg" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (["--data_root", "/nowhere"], "GTAV"),
        (["--mem_slot", "3", "--memory"], "--mem_slot 3"),
        (["--device", "tpu"], "--device tpu"),
        (["--pretrained_backbone", __file__], "not a readable file of weights"),
        (["--arch", "network.deepv3plus.DeepWV3Plus"], "--arch"),
    ],
)
def test_mistakes_are_told_in_one_line(change: list[str], told: str, data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        training.main(flags(data, tmp_path, *change))
    assert told in str(error.value) and "\n" not in str(error.value)


def test_a_mistake_ends_the_program_with_code_2(data: Path) -> None:
    done = subprocess.run(
        [sys.executable, "eval.py", "--snapshot", "absent.pth"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stderr.startswith("eval.py: error: --snapshot absent.pth: no such file")
    (data / "text.pth").write_text("not a checkpoint")
    torch.save({"network": {}, "weights": {}}, data / "foreign.pth")
    for name, told in (("text.pth", "not a readable checkpoint"), ("foreign.pth", "without code, flags, iteration")):
        with pytest.raises(UsageError, match=told) as error:
            evaluation.main(["--snapshot", str(data / name)])
        assert "\n" not in str(error.value)
    assert programs.fail("eval.py", "x") == 2
