"""Imports, pyproject.toml, environment.yml and the container image agree."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import yaml
from pip._vendor.packaging.requirements import Requirement
from test_design import python_files, top_level_imports

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    from pip._vendor import tomli as tomllib

ROOT = Path(__file__).parent.parent
IMPORTED_AS = {
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "pyyaml": "yaml",
}  # packages whose modules have another name
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())
DOCKERFILE = ROOT / "docker" / "Dockerfile"


def modules(requirements: list[str]) -> set[str]:
    names = [Requirement(line).name for line in requirements]
    return {IMPORTED_AS.get(name, name) for name in names}


INSTALLED = "figures", "whitening", "video", "export", "encoders"  # extras


def test_environment_is_that_of_the_project() -> None:
    *conda, pip = ENVIRONMENT["dependencies"]
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *(line for name in INSTALLED for line in extras[name])]
    assert ENVIRONMENT["name"] == "pinmem" and pip == {"pip": wanted}
    python, installer = (Requirement(line) for line in conda)
    assert installer.name == "pip" and python.name == "python"
    least = Requirement(f"python{PROJECT['requires-python']}").specifier
    for version in ("3.10", "3.11", "3.12", "3.13"):
        assert python.specifier.contains(version) and least.contains(version)
    assert not python.specifier.contains("3.9") and not python.specifier.contains("3.14")


def test_imports_are_declared_and_declared_ones_imported() -> None:
    used = set().union(*(top_level_imports(path) for path in python_files()))
    own = {path.name.removesuffix(".py") for path in ROOT.iterdir()}
    foreign = used - own - set(sys.stdlib_module_names) - {"tomllib"}  # Python 3.10 has it in pip only
    extras = PROJECT["optional-dependencies"]
    optional = modules([line for name, lines in extras.items() if name != "test" for line in lines])
    assert foreign - optional - {"pip"} == modules(PROJECT["dependencies"])  # tools/requirements.py uses pip


def test_dockerfile() -> None:
    program = Path(sysconfig.get_path("scripts")) / "hadolint"  # installed by the extra ``test``
    done = subprocess.run([program, DOCKERFILE], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split() for line in DOCKERFILE.read_text().splitlines() if line and not line.startswith("#")]
    bases = [words[1] for words in lines if words[0] == "FROM"]
    assert all(":" in base and "latest" not in base for base in bases)
    assert not [words for words in lines if "http" in " ".join(words)]  # nothing is fetched but images and packages
    ours = [words[1] for words in lines if words[0] == "COPY" and not words[1].startswith("--from")]
    assert all((ROOT / name).exists() for name in ours)


def test_image_has_all_code() -> None:
    files = ["environment.yml", "pyproject.toml", "test.sh", "train.py", "eval.py", "ablation.py", "LICENSE"]
    left_out = {line.rstrip("/") for line in (ROOT / ".gitignore").read_text().split()} | {".git"}
    folders = [path for path in ROOT.iterdir() if path.is_dir() and path.name not in left_out]
    code = [path.name for path in folders if any(path.glob("*.py")) or any(path.glob("*.sh"))]
    assert [name for name in (*files, *code) if not any(Path(name).match(pattern) for pattern in kept())] == []


def kept() -> list[str]:
    """The patterns that .dockerignore keeps; it ignores everything else."""
    first, *lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] not in ("", "#")]
    assert first == "*"
    return [line[1:] for line in lines if line.startswith("!")]
