"""The data doctor: it finds faults in a folder of data before a training suffers from them."""

from datasets.check.doctor import Report, check, check_sources
from datasets.check.findings import FAULTS, Finding

__all__ = ["FAULTS", "Finding", "Report", "check", "check_sources"]
