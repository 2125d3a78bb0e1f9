"""Print what ``pyproject.toml`` asks for and this Python does not have: ``python tools/requirements.py [EXTRA ...]``.

The project runs from its root and is never installed itself, so pip cannot be asked to install "its dependencies".
Needs nothing but pip.
"""

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    from pip._vendor import tomli as tomllib


def missing(extras: list[str]) -> list[str]:
    """The requirements that are not installed, or not in a version that will do."""
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + [line for extra in extras for line in project["optional-dependencies"][extra]]
    return [line for line in wanted if not satisfied(Requirement(line))]


def satisfied(requirement: Requirement) -> bool:
    try:
        return requirement.specifier.contains(version(requirement.name), prereleases=True)
    except PackageNotFoundError:
        return False


if __name__ == "__main__":
    try:
        print("\n".join(missing(sys.argv[1:])))
    except KeyError as unknown:
        print(f"error: {unknown}: no such extra in pyproject.toml", file=sys.stderr)
        sys.exit(2)
