"""The architecture: imports go down and never in circles, options stop at the door, parsers need no torch."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LEVELS = {
    "utils": 0, "network": 1, "datasets": 1, "checkpoints": 2, "loss": 2, "optimizer": 2, "methods": 3,
    "engine": 4, "tools": 4, "train": 4, "eval": 4, "ablation": 5, "benchmarks": 5, "hubconf": 5,
}  # fmt: skip


def python_files() -> list[Path]:
    folders = [path for name in LEVELS for path in sorted((ROOT / name).rglob("*.py"))]
    return [*folders, *(ROOT / f"{name}.py" for name in ("train", "eval", "ablation", "hubconf"))]


FILES = {path.relative_to(ROOT).as_posix(): path for path in python_files()}
MODULES = {name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): FILES[name] for name in FILES}


def imports(node: ast.AST) -> Iterator[str]:
    """What the code below ``node`` imports, also inside functions: a.b.c for ``from a.b import c``.

    What only type checkers import is left out.
    """
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "relative import"
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        yield from imports(child)


def imports_of(path: Path) -> set[str]:
    return set(imports(ast.parse(path.read_text())))


def top_level_imports(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports_of(path)}


@pytest.mark.parametrize("name", FILES)
def test_imports_go_down_only(name: str) -> None:
    own = LEVELS[name.partition("/")[0].removesuffix(".py")]
    above = {other for other in top_level_imports(FILES[name]) if LEVELS.get(other, -1) > own}
    assert not above, f"{name} (level {own}) imports {above}"


def test_no_module_imports_itself_through_others() -> None:
    graph = {}
    for module, path in MODULES.items():
        names = imports_of(path)
        modules = {name if name in MODULES else name.rpartition(".")[0] for name in names}
        graph[module] = modules & MODULES.keys()
    TopologicalSorter(graph).prepare()  # CycleError names the modules of a cycle


def may_see_namespaces(name: str) -> bool:
    doors = name.endswith("__main__.py") or name.startswith(("engine/options/", "tools/", "benchmarks/"))
    return doors or "/" not in name or name == "utils/options.py"


@pytest.mark.parametrize("name", [name for name in FILES if not may_see_namespaces(name)])
def test_options_stop_at_the_door(name: str) -> None:
    assert "Namespace" not in FILES[name].read_text()


def test_no_hard_wired_device() -> None:
    assert not [name for name, path in FILES.items() if re.search(r"\.cuda\(", path.read_text())]


# What works without torch


def run(*command: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, env={**os.environ, **environment}
    )


TORCHLESS = """
    engine.options.training_command engine.options.evaluation_options engine.plan methods network.archs tools.convert
    optimizer.schedules datasets.labels datasets.registry datasets.disk.polygons datasets.demo.__main__
    datasets.prepare.__main__ datasets.check.__main__ tools.export
"""
TOOLS = (
    *("datasets.demo", "datasets.check", "datasets.prepare"),
    *("tools.compare", "tools.convert", "tools.export", "tools.report"),
)
PROGRAMS = [["train.py"], ["eval.py"], ["ablation.py"], *(["-m", name] for name in TOOLS)]


@pytest.mark.parametrize("module", TORCHLESS.split())
def test_parsers_and_tables_import_no_torch(module: str) -> None:
    done = run("-c", f"import sys, {module}; sys.exit('torch' in sys.modules)")
    assert done.returncode == 0, done.stderr or f"{module} imports torch"


# Runs the program that the command line names, as if torch were not installed.
WITHOUT_TORCH = """
import runpy, sys
sys.modules["torch"] = None
del sys.argv[0]
start = runpy.run_module if sys.argv[0] == "-m" else runpy.run_path
start(sys.argv.pop(1) if sys.argv[0] == "-m" else sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program[-1])
def test_help_needs_no_torch(program: list[str]) -> None:
    done = run("-c", WITHOUT_TORCH, *program, "--help")
    assert done.returncode == 0 and "usage:" in done.stdout, done.stderr


def test_the_plan_needs_no_torch(data: Path) -> None:
    line = f"train.py --data_root {data} --val_dataset mapillary --mldg --memory".split()
    done = run("-c", WITHOUT_TORCH, *line, "--plan")
    assert done.returncode == 0 and "Pin the Memory" in done.stdout, done.stderr
    done = run("-c", WITHOUT_TORCH, *line)
    assert done.returncode == 1 and "import of torch halted" in done.stderr  # training does need it


def test_our_packages_win_over_installed_ones(tmp_path: Path) -> None:
    for name in ("datasets", "utils"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('the decoy was imported')")
    done = run("train.py", "--data_root", str(tmp_path), "--device", "cpu", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2 and "GTAV" in done.stderr, done.stderr
