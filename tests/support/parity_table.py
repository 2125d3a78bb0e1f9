"""The tables of docs/parity.md: ``pytest -m parity --parity-table=docs/parity.md`` writes what the tests compared."""

from collections import defaultdict
from pathlib import Path

import pytest

from support.golden import Comparison

PROPERTY = "parity"  # of a test's report; reports reach the process that writes the table, also from other processes
SECTIONS = {
    "a": "Forwards in evaluation", "b": "Losses and gradients of a training forward", "c": "The memory alone",
    "d": "The first memory", "e": "Whole training iterations", "f": "Evaluation: windows, scales, flips, scores",
    "g": "Augmentation geometry and label tables", "h": "Checkpoints", "i": "Whitening",
}  # fmt: skip


class Table:
    """Gathers what the tests report and writes the tables when all are done, below the text that is there."""

    def __init__(self, path: Path) -> None:
        self.path, self.found = path, defaultdict(list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            for name, value in report.user_properties:
                if name == PROPERTY:
                    comparison = Comparison(*value)
                    self.found[comparison.golden].append(comparison)

    def pytest_sessionfinish(self) -> None:
        text = self.path.read_text() if self.path.exists() else "# Parity with the release\n"
        head = text.partition("\n## ")[0]  # written by hand
        self.path.write_text(head + "".join(map(self.section, SECTIONS)))

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
