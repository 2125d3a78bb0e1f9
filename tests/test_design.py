"""The house: imports go down only, the parser answers without torch, nothing foreign shadows our packages."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LEVELS = {
    "utils": 0, "network": 1, "datasets": 1, "checkpoints": 2, "loss": 2, "optimizer": 2, "methods": 3,
    "engine": 4, "tools": 4, "train": 4, "eval": 4, "ablation": 5, "benchmarks": 5,
}  # fmt: skip


def python_files() -> list[Path]:
    files = [path for name in LEVELS for path in (ROOT / name).rglob("*.py")]
    return [*files, *(ROOT / f"{name}.py" for name in ("train", "eval", "ablation"))]


def imported(path: Path) -> set[str]:
    """Top-level names of every import of a file, also those inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("path", python_files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_go_down_only(path: Path) -> None:
    own = LEVELS[path.relative_to(ROOT).parts[0].removesuffix(".py")]
    above = {name for name in imported(path) if LEVELS.get(name, -1) > own}
    assert not above, f"{path.name} (level {own}) imports {above}"


def run(*command: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, env={**os.environ, **environment}
    )


@pytest.mark.parametrize(
    "module",
    [
        "engine.options.train_flags",
        "engine.options.eval_flags",
        "network.archs",
        "tools.convert",
        "optimizer.schedules",
        "datasets.labels",
        "datasets.registry",
        "engine.data_report",
        "datasets.disk.polygons",
        "datasets.demo.__main__",
        "datasets.prepare.__main__",
        "datasets.check.__main__",
    ],
)
def test_answers_without_torch(module: str) -> None:
    done = run("-c", f"import sys, {module}; sys.exit('torch' in sys.modules)")
    assert done.returncode == 0, done.stderr or f"{module} imports torch"


PROGRAMS = [["train.py"], ["eval.py"], ["ablation.py"]]
PROGRAMS += [
    ["-m", name] for name in ("datasets.demo", "datasets.check", "datasets.prepare", "tools.compare", "tools.convert")
]


# Runs the program that the command line names, to which torch looks as if it were not installed.
WITHOUT_TORCH = """
import runpy, sys
sys.modules["torch"] = None
del sys.argv[0]
start = runpy.run_module if sys.argv[0] == "-m" else runpy.run_path
start(sys.argv.pop(1) if sys.argv[0] == "-m" else sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("program", PROGRAMS)
def test_help(program: list[str]) -> None:
    done = run("-c", WITHOUT_TORCH, *program, "--help")
    assert done.returncode == 0 and "usage:" in done.stdout, done.stderr


def test_the_plan(data: Path) -> None:
    line = f"--plan --data_root {data} --val_dataset mapillary --mldg --memory"
    done = run("-c", WITHOUT_TORCH, "train.py", *line.split())
    assert done.returncode == 0 and "Pin the Memory" in done.stdout, done.stderr
    done = run("-c", WITHOUT_TORCH, "train.py", *line.split()[1:])
    assert done.returncode == 1 and "import of torch halted" in done.stderr  # training does need it


def test_our_packages_win_over_installed_ones(tmp_path: Path) -> None:
    for name in ("datasets", "utils"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('the decoy was imported')")
    done = run("train.py", "--data_root", str(tmp_path), "--device", "cpu", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2 and "GTAV" in done.stderr, done.stderr


def test_no_hard_wired_device() -> None:
    assert not [path for path in python_files() if re.search(r"\.cuda\(", path.read_text())]
