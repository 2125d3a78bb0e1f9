"""Writes docs/parity.md from the comparisons of the tests: ``pytest -m parity --parity-table=docs/parity.md``."""

from collections import defaultdict
from pathlib import Path

import pytest

from support.golden import Comparison
from support.rounding import MARGIN, TERMS

PROPERTY = "parity"  # of a test's report; reports reach the process that writes the table, also from other processes
HEAD = f"""# Parity with the release

This page compares our numbers with those of the authors' release, on the same weights and inputs.  The command
`pytest -m parity --parity-table=docs/parity.md` makes it.  Every row is one file of numbers that the release's
unmodified code computed on a CPU (a golden).  Some of the files are in `tests/golden/`; `PINMEM_GOLDEN` names the
folder of all.

An error is the largest difference, divided by the spread (standard deviation) of the tensor, or by the magnitude of a
single number.  Errors of norms are relative to each norm.  A row shows the comparison that comes nearest to its limit.
An error of 0 means that all bits, classes, labels or counts are equal.

**Double precision.**  Where the release's code was run in double precision, our result must agree to 1e-8.  This is the
strict test: it holds on every processor.

**Single precision.**  No two processors round alike, so a fixed limit would test the processor.  Here both numbers, the
golden and our own float32 result, are compared with our result in double precision.  Rounding must explain the
difference.  To estimate it, we compute in double precision once more, but give the result of every operation the error
that float32 leaves: one rounding, and sqrt(n / 2) roundings for a sum of n numbers, because each addition rounds a
partial sum (Higham and Mary, 2019).  The limit is {MARGIN} times the largest error of this estimate, plus {TERMS} units
of roundoff (2^-24) of the largest number.  The factor {MARGIN} is there because the estimate is a single draw of random
errors, and because operations such as a norm round several times inside.  Measured with the kernels of AVX2 and of
AVX-512, with one thread and with two, no error of a forward exceeds 1.6 times the estimate.

After a backward pass single numbers may differ more: rounding changes the sign of an activation here and there, and a
gradient then takes another path.  So the norms and the directions of the gradients (and of the updates of whole
iterations) are compared as a group, by the error that nine tenths of them stay below.  Losses after an update are
compared in double precision only.

Two other limits are fixed numbers.  Whitening in single precision has the differences that the release shows between
two runs with other numbers of threads.  Of the labels of a crop, which is cut first and resized afterwards, a share of
5e-3 may differ: rounding decides between two pixels in single rows and columns.

`tests/test_network.py` also compares the names and shapes of all parameters of 30 networks.
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
