"""Test-wide settings and what several files of tests share."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from datasets.demo import write_demo

THREADS = 1 if "PYTEST_XDIST_WORKER" in os.environ else 2  # side by side, tests have a core each, of two
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
    root = tmp_path_factory.mktemp("data")
    write_demo(root, domains=["gtav", "synthia", "mapillary"], train=4, val=2, size=(64, 128), seed=1, workers=1)
    return root


@pytest.fixture
def root(data: Path, tmp_path: Path) -> Path:
    """A data root of its own, the times of its files kept."""
    shutil.copytree(data, tmp_path / "root")
    return tmp_path / "root"
