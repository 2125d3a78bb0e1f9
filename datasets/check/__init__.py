"""The data doctor: what is wrong with a folder of data, told before a training would suffer from it."""

from datasets.check.findings import KINDS, Finding
from datasets.check.run import Report, check, check_sources

__all__ = ["KINDS", "Finding", "Report", "check", "check_sources"]
