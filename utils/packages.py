"""Packages that are needed for some things only."""

import importlib
from types import ModuleType

from utils.errors import UsageError, first_line


def need(package: str, flag: str, *, remedy: str) -> ModuleType:
    """The package, loaded; where that fails, ``flag`` and the ``remedy`` are told."""
    try:
        return importlib.import_module(package)
    except (ImportError, OSError) as error:  # the second where a library that it links is missing
        raise UsageError(f"{flag}: the package {package} cannot be loaded ({first_line(error)}); {remedy}") from error


def need_kmeans() -> ModuleType:
    """The package that clusters covariance entries."""
    remedy = "install it with `pip install kmeans1d`, or give --relax_denom, which needs no clusters"
    return need("kmeans1d", "--wt_layer 2", remedy=remedy)
