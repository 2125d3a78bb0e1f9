"""Test-wide settings: as many threads as fit the smallest machine that must do, and the repository importable."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
THREADS = 1 if "PYTEST_XDIST_WORKER" in os.environ else 2  # side by side, tests have a core each
torch.set_num_threads(THREADS)
os.environ["OMP_NUM_THREADS"] = str(THREADS)  # for the programs that tests start


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets the number of threads for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three demo domains of four training and two validation images, to be left as they are."""
    from datasets.demo import write_demo

    root = tmp_path_factory.mktemp("data")
    write_demo(root, domains=["gtav", "synthia", "mapillary"], train=4, val=2, size=(64, 128), seed=1, workers=1)
    return root
