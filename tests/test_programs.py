"""The door of all programs: files are written whatever becomes of the screen, and errors are one line."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import eval as evaluation
import train as training
from datasets.demo import __main__ as demo
from support.disks import largest_file
from support.holders import held
from support.programs import exit_code
from support.snapshots import write_snapshot

ROOT = Path(__file__).parent.parent
SMALL = "--val_dataset mapillary --mapillary_crop 0 --device cpu --arch DeepR18V3PlusD --pretrained_backbone none "
SMALL += "--crop_size 48 --bs_mult 2 --max_iter 2 --val_images 1 --num_workers 0 --no_check"


@pytest.mark.parametrize("screen", [">&-", "2>&-", ">&- 2>&-", "> /dev/full", "> /dev/full 2>&1", "| head -n 0"])
def test_a_screen_that_is_closed_or_full(screen: str, data: Path, tmp_path: Path) -> None:
    line = f"{sys.executable} -m datasets.check {data} --dataset gtav --json {tmp_path}/report.json {screen}"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", line], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "Traceback" not in done.stderr and "Exception" not in done.stderr
    assert [row["images"] for row in json.loads((tmp_path / "report.json").read_text())["splits"]] == [4, 2]
    assert ("<stdout>: No space left on device" in done.stderr) == (screen == "> /dev/full")


def without_screen(patch: pytest.MonkeyPatch) -> None:
    for name in ("stdout", "stderr"):
        patch.setattr(sys, name, open("/dev/full", "w"))  # noqa: SIM115


@pytest.mark.usefixtures("thin_resnet")
def test_training_and_evaluation_without_a_screen(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        without_screen(patch)
        flags = f"--data_root {data} --exp_root {tmp_path} {SMALL}".split()
        assert exit_code("train.py", training.main, flags) == 0
    (last,) = tmp_path.glob("default/*/last.pth")
    assert len((last.parent / "metrics.jsonl").read_text().splitlines()) == 10
    flags = f"--snapshot {last} --data_root {data} --dataset gtav --device cpu --num_workers 0 --out {tmp_path}".split()
    with monkeypatch.context() as patch:
        without_screen(patch)
        assert exit_code("eval.py", evaluation.main, flags) == 0
    assert json.loads((tmp_path / "results.json").read_text())["domains"].keys() == {"gtav"}


def test_a_screen_without_the_characters(capsys: pytest.CaptureFixture) -> None:
    sys.stdout.reconfigure(encoding="ascii")
    assert exit_code("program", lambda _: print("1.0 ± 0.1 \udce9"), []) == 0
    assert capsys.readouterr().out == "1.0 \\xb1 0.1 \\udce9\n"


def test_ctrl_c_ends_the_demo_with_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "datasets.demo", str(tmp_path), "--train", "2000", "--workers", "2"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True) as program:
        while program.poll() is None and not list(tmp_path.rglob("*.png")):
            time.sleep(0.01)
        os.killpg(program.pid, signal.SIGINT)
        _, errors = program.communicate(timeout=60)
    assert program.returncode == 130 and errors.endswith("datasets.demo: stopped\n") and "Traceback" not in errors


def test_a_full_disk_has_a_name(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    flags = f"{tmp_path} --domains gtav --train 1 --val 0 --size 64 128 --workers 1".split()
    with largest_file(1000):
        assert exit_code("datasets.demo", demo.main, flags) == 2
    assert f"datasets.demo: error: {tmp_path}/GTAV: File too large; mend that" in capsys.readouterr().err


@pytest.mark.usefixtures("thin_resnet")
def test_a_full_log_has_a_name(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    flags = f"--data_root {data} --exp_root {tmp_path} {SMALL} --max_iter 40 --val_interval 40 --log_interval 1".split()
    with largest_file(4500):  # flags.json fits
        assert exit_code("train.py", training.main, flags) == 2
    (run,) = tmp_path.glob("default/*")
    (error,) = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert error.endswith(f"train.py: error: {run}: File too large; mend that, then start again or resume")


@pytest.mark.usefixtures("thin_resnet")
def test_two_evaluations_into_one_folder(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """The second one stops, while the first one runs."""
    snapshot = write_snapshot(tmp_path / "x.pth", memory=False)
    flags = f"--snapshot {snapshot} --data_root {data} --dataset gtav --device cpu --num_workers 0 --out {tmp_path}"
    with held(tmp_path):
        assert exit_code("eval.py", evaluation.main, flags.split()) == 2
    assert f"{tmp_path}/.lock: held by another program" in capsys.readouterr().err
    assert exit_code("eval.py", evaluation.main, flags.split()) == 0


LOADING = """
import torch
from datasets.sampling.worker_loader import one_by_one
from utils.program import run_program
run_program("x", lambda: print([*one_by_one(torch.ones, [1, 2], 2)]))
"""


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [("export TMPDIR={}", "AF_UNIX path too long"), ("ulimit -n 16", "processes cannot load data here"), ("true", "")],
)
def test_processes_that_cannot_load(spoil: str, problem: str, tmp_path: Path) -> None:
    """One line, and neither a hang nor a traceback."""
    (folder := tmp_path / ("x" * 100)).mkdir()
    line = f"{spoil.format(folder)}; exec {shlex.quote(sys.executable)} -c {shlex.quote(LOADING)}"
    done = subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == (2 if problem else 0) and "Traceback" not in done.stderr
    assert problem in done.stderr and ("[tensor([1.])" in done.stdout) == (not problem)


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("train.py --plan --data_root {data} --val_dataset mapillary", "{here}/experiment_pinmem"),
        ("train.py --plan --val_dataset mapillary", "{here}/dg_seg_dataset: no folder GTAV"),
        ("eval.py --snapshot ~/x", "this account has no home directory; give paths without ~"),
    ],
)
def test_an_account_without_a_home(line: str, answer: str, data: Path, tmp_path: Path) -> None:
    code = f"""
import os, pwd, runpy, sys
def no_entry(number): raise KeyError(number)
pwd.getpwuid = no_entry
sys.argv[:] = {line.format(data=data).split()}
sys.path[0] = {str(ROOT)!r}
runpy.run_path({str(ROOT / line.split()[0])!r}, run_name="__main__")
"""
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "DG_SEG_DATASET")}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert answer.format(here=tmp_path) in done.stdout + done.stderr and "Traceback" not in done.stderr
