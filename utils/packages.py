"""Packages that only some features need."""

import importlib
from types import ModuleType

from utils.errors import UsageError, first_line


def need(package: str, flag: str, *, remedy: str) -> ModuleType:
    """Import and return ``package``; if that fails, raise a UsageError that names ``flag`` and the ``remedy``."""
    try:
        return importlib.import_module(package)
    except (ImportError, OSError) as error:  # OSError: a library that the package links is missing
        raise UsageError(f"{flag}: the package {package} cannot be loaded ({first_line(error)}); {remedy}") from error


def need_kmeans() -> ModuleType:
    """The package that clusters the variances of covariance entries."""
    remedy = "install it with `pip install kmeans1d`, or give --relax_denom, which needs no clusters"
    return need("kmeans1d", "--wt_layer 2", remedy=remedy)
