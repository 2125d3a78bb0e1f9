"""The table of parity: what comparisons leave in a report, and what is written of it."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from support.golden import Recorded, assert_close
from support.parity_table import PROPERTY, Table


def test_comparisons_become_rows(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    golden = np.array([1.0, 2.0, 3.0]).view(Recorded)
    golden.origin = "b_net_f64"
    assert_close([2.0, 3.0], golden[1:], 1e-8, "close")
    with pytest.raises(AssertionError, match="far: off by 1"):
        assert_close([1.0, 4.0], golden[::2], 1e-8, "far")
    properties = list(request.node.user_properties)
    request.node.user_properties.clear()  # they are no real ones
    assert [value[:2] for _, value in properties] == [("b_net_f64", "close"), ("b_net_f64", "far")]
    table = Table(tmp_path / "table.md")
    good = (PROPERTY, ("a_net", "logits", 0.0, 1e-5))
    table.pytest_runtest_logreport(SimpleNamespace(when="call", user_properties=[*properties, good]))
    table.pytest_runtest_logreport(SimpleNamespace(when="teardown", user_properties=[good]))
    table.pytest_sessionfinish()
    rows = [line for line in table.path.read_text().splitlines() if line.startswith(("| a_", "| b_"))]
    assert rows == [
        "| a_net | single | 1 | all equal | 0 | 1e-05 | pass |",
        "| b_net_f64 | double | 2 | far | 1.0e+00 | 1e-08 | **FAIL** |",
    ]
