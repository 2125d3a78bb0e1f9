"""quickstart.sh, with a stand-in for Python that writes down its arguments, and the check of installed packages."""

import os
import subprocess
from pathlib import Path

import pytest
from pip._vendor.packaging.requirements import Requirement

from tools.requirements import missing, satisfied

ROOT = Path(__file__).parent.parent
STAND_IN = """#!/usr/bin/env bash
case $1 in */tools/requirements.py) exit 0 ;; esac
echo "$*" >> "$CALLS"
if [ "$1" = train.py ]; then
    while [ $# -gt 0 ]; do
        case $1 in --exp_root) root=$2 ;; --exp) exp=$2 ;; esac
        shift
    done
    mkdir -p "$root/$exp/now" && touch "$root/$exp/now/last.pth"
fi
"""


@pytest.fixture
def stand_in(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python3"
    python.write_text(STAND_IN)
    python.chmod(0o755)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "CALLS": str(tmp_path / "calls"), "OUT": "my runs"}


def quickstart(environment: dict[str, str], folder: Path) -> list[str]:
    """The arguments with which quickstart.sh, started in ``folder``, calls Python."""
    calls = Path(environment["CALLS"])
    calls.write_text("")
    subprocess.run(["bash", str(ROOT / "quickstart.sh")], check=True, env=environment, cwd=folder, capture_output=True)
    return calls.read_text().splitlines()


def test_quickstart_continues_runs_of_one_length(stand_in: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "my runs"
    weights, demo, trial, pace, *calls = quickstart(stand_in, tmp_path)
    assert weights.startswith("-c") and demo.startswith(f"-m datasets.demo {out}/data")
    assert "--pretrained_backbone imagenet --lr 0.01" in trial and pace.endswith(" 300")
    assert [call.split()[0] for call in calls] == 3 * ["train.py", "eval.py"] + ["-m", "-m"]
    assert "--mldg" not in calls[0] and "--memory" in calls[2] and "--recipe tuned" in calls[4]
    assert f"--snapshot {out}/runs/baseline_300_0/now/last.pth" in calls[1]
    assert all("--resume auto" in call for call in calls if call.startswith("train.py"))
    longer = quickstart({**stand_in, "ITERATIONS": "710", "WEIGHTS": "none"}, tmp_path)
    assert len([call for call in longer if "--max_iter 710" in call and "none --lr 0.05" in call]) == 3


def test_quickstart_says_why_it_cannot_train(stand_in: dict[str, str], tmp_path: Path) -> None:
    failing = STAND_IN.replace("mkdir", "echo 'no such device' >&2; exit 2; mkdir")
    (tmp_path / "bin" / "python3").write_text(failing)
    settings = {"cwd": tmp_path, "env": stand_in, "capture_output": True, "text": True}
    ended = subprocess.run(["bash", str(ROOT / "quickstart.sh")], **settings)
    assert ended.returncode == 2 and ended.stderr == "no such device\n"


def test_requirements() -> None:
    assert missing(["test", "figures"]) == []  # this Python runs the tests
    assert satisfied(Requirement("torch>=2.6"))
    assert not satisfied(Requirement("torch>=99")) and not satisfied(Requirement("no-such-package"))
