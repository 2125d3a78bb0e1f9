"""torch.hub.load in other programs, which have packages called like ours."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.snapshots import write_snapshot

ROOT = str(Path(__file__).parent.parent)
PROGRAM = """
import numpy as np, sys, torch
{early}
net = torch.hub.load({root!r}, "pinmem", snapshot="x.pth", source="local", device="cpu")
again = torch.hub.load({root!r}, "pinmem", snapshot="x.pth", source="local", device="cpu")
import datasets, network, utils.tools
assert datasets.OWNER == utils.OWNER == utils.tools.OWNER == network.OWNER == "the program"
image = np.zeros((33, 21, 3), np.uint8)
assert net.predict(image).shape == (33, 21) and net.details([image])[0].memory is not None
assert (again.predict(image) == net.predict(image)).all()
assert {root!r} not in sys.path and "checkpoints" not in sys.modules
try:
    net.predict("absent.png")
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("early", ["", "import datasets, network, utils.tools"])
def test_a_program_with_packages_of_the_same_names(early: str, tmp_path: Path) -> None:
    """It may import them before or after ours: neither side sees those of the other."""
    for name in ("datasets/__init__", "utils/__init__", "utils/tools", "network"):
        (tmp_path / f"{name}.py").parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.py").write_text("OWNER = 'the program'\n")
    write_snapshot(tmp_path / "x.pth", memory=True)
    (tmp_path / "program.py").write_text(PROGRAM.format(early=early, root=ROOT))
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "program.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("UsageError absent.png: unreadable image")
