"""``benchmarks/on_gpu.sh``: a failing step stops no other, and a trial on the CPU goes through."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STAND_IN = """#!/usr/bin/env bash
case "$*" in
    *gpu_checks\\ gradients*) echo "the gradient is wrong"; exit 3 ;;
    *gpu_checks\\ runs*) echo "all is well" ;;
    *requirements.py*) echo "tensorboardX>=2.6.2" ;;
esac
"""


def on_gpu(out: Path, **settings: str) -> tuple[int, str]:
    """The exit code and the summary of a trial on the CPU."""
    environment = os.environ | {"TINY": "1", "OUT": str(out)} | settings
    done = subprocess.run(["bash", "benchmarks/on_gpu.sh"], cwd=ROOT, env=environment, capture_output=True)
    return done.returncode, (out / "summary.txt").read_text()


def test_a_failing_step_is_noted_and_the_next_begins(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(STAND_IN)
    python.chmod(0o755)
    code, summary = on_gpu(tmp_path / "out", PYTHON=str(python))
    assert code == 1 and "missing packages: tensorboardX>=2.6.2" in summary
    assert "gradients: FAILED with code 3" in summary and "the gradient is wrong" in summary
    assert "runs: passed" in summary and "study: passed" in summary
    code, summary = on_gpu(tmp_path / "late", PYTHON=str(python), BUDGET="0", PARTS="speed")
    assert code == 0 and "step, off: skipped, the time is over" in summary
    code, summary = on_gpu(tmp_path / "unproven", PYTHON=str(python), BUDGET="0", PARTS="correctness")
    assert code == 1 and "gradients: skipped, the time is over" in summary


def test_an_unknown_part_starts_nothing(tmp_path: Path) -> None:
    environment = os.environ | {"OUT": str(tmp_path / "out"), "PARTS": "speed nothing"}
    done = subprocess.run(["bash", "benchmarks/on_gpu.sh"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and "PARTS: nothing: choose from" in done.stderr and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_trial_on_the_cpu(tmp_path: Path) -> None:
    code, summary = on_gpu(tmp_path, PYTHON=sys.executable)
    assert code == 0 and summary.count(": passed") == 5, summary
    assert {path.name for path in tmp_path.iterdir()} == {
        "summary.txt", "correctness.log", "speed.log", "study.log", "study.jsonl", "step_off.json"
    }  # fmt: skip
