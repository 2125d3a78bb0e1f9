"""docs/parity.md from the comparisons that tests have made: ``pytest -m parity --parity-table=docs/parity.md``."""

from collections import defaultdict
from pathlib import Path

import pytest

from support.golden import Comparison

PROPERTY = "parity"  # of a test's report; these reach the process that writes the table, however many run tests
HEAD = """# Parity with the release

How far our numbers are from those of the authors' release, on the same weights and inputs.  Made by
`pytest -m parity --parity-table=docs/parity.md`; every row is one file of numbers that the release's unmodified code
computed on a CPU (`tests/golden/`, the others are found by `PINMEM_GOLDEN`).

An error is the largest difference, divided by the spread (standard deviation) of the tensor, or by the magnitude of a
single number; errors of norms are relative to each norm.  Shown is the comparison that comes nearest to its limit.  In
double precision that is 1e-8.  In single precision it is 1e-5 for forwards, the memory alone and evaluation; for
gradients and whole iterations it is how much the release's own numbers change with the number of threads, since
rounding errors grow there.  0 means that all bits are equal, or all classes, labels or counts.

Two limits are wider.  `a_shuffle_ibn` misses 1e-5: its features differ by 1.5e-4 of their spread, which 2e-4 lets pass.
That network is ill-conditioned in single precision: our own forward in double precision is 1.3e-4 from the golden, too,
and torch's ways to compute it (oneDNN or not, one memory layout or the other) differ by up to 1.4e-4 from each other.
Of the labels of a crop, which is cut first and resized then, a share of 5e-3 may differ: single rows and columns in
which rounding decides between two pixels.

Names and shapes of all parameters of 30 networks are compared besides (`tests/test_network.py`).
"""
SECTIONS = {
    "a": "Forwards in evaluation", "b": "Losses and gradients of a training forward", "c": "The memory alone",
    "d": "The first memory", "e": "Whole training iterations", "f": "Evaluation: windows, scales, flips, scores",
    "g": "Augmentation geometry and label tables", "h": "Checkpoints", "i": "Whitening",
}  # fmt: skip


class Table:
    """Gathers what the tests report and writes the table when all are done."""

    def __init__(self, path: Path) -> None:
        self.path, self.found = path, defaultdict(list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            for name, value in report.user_properties:
                if name == PROPERTY:
                    comparison = Comparison(*value)
                    self.found[comparison.golden].append(comparison)

    def pytest_sessionfinish(self) -> None:
        self.path.write_text(HEAD + "".join(map(self.section, SECTIONS)))

    def section(self, letter: str) -> str:
        rows = [self.row(golden) for golden in sorted(self.found) if golden.startswith(f"{letter}_")]
        titles = "| golden | precision | comparisons | nearest to its limit | error | limit | |\n" + "|---" * 7 + "|\n"
        return f"\n## {SECTIONS[letter]}\n\n{titles}{''.join(rows)}" if rows else ""

    def row(self, golden: str) -> str:
        comparisons = self.found[golden]
        worst = max(comparisons, key=nearness)
        precision = "double" if golden.endswith("_f64") else "labels" if golden.startswith("g_") else "single"
        passed = "pass" if all(each.error <= each.allowed for each in comparisons) else "**FAIL**"
        what = worst.what if worst.error else "all equal"
        numbers = f"{worst.error:.1e} | {worst.allowed:.0e}" if worst.error else f"0 | {worst.allowed:.0e}"
        return f"| {golden} | {precision} | {len(comparisons)} | {what} | {numbers} | {passed} |\n"


def nearness(comparison: Comparison) -> float:
    """The error as a share of what is allowed."""
    return comparison.error / comparison.allowed if comparison.allowed else comparison.error * 1e300
