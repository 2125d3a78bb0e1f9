"""Test-wide settings and what several files of tests share."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.demo import write_demo
from support.golden import RECORDER
from support.parity_table import PROPERTY, Table
from support.release_files import thin_release_state, write_release
from support.snapshots import write_snapshot
from support.thin_resnet import use

# One thread unless asked otherwise: tests run side by side, and threads that wait for each other take time from others.
os.environ.setdefault("OMP_NUM_THREADS", "1")  # also for the programs that tests start
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--parity-table", type=Path, metavar="FILE", help="write how far goldens are missed, with '='")


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("--parity-table")
    if path and not hasattr(config, "workerinput"):  # the process that sees all reports
        config.pluginmanager.register(Table(path))


@pytest.fixture(autouse=True)
def recorded(request: pytest.FixtureRequest) -> Iterator[None]:
    """Comparisons with goldens go into the report of the test that makes them."""
    properties = request.node.user_properties
    token = RECORDER.set(lambda comparison: properties.append((PROPERTY, tuple(comparison))))
    yield
    RECORDER.reset(token)


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets the number of threads for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def thin_resnet() -> Iterator[None]:
    """DeepR18 has an eighth of its channels, for runs that only show what the programs do.  Not in other processes."""
    with pytest.MonkeyPatch.context() as patch:
        use(patch)
        yield


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three demo domains of four training and two validation images, to be left as they are."""
    root = tmp_path_factory.mktemp("data")
    write_demo(root, domains=["gtav", "synthia", "mapillary"], train=4, val=2, size=(64, 128), seed=1, workers=1)
    return root


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``theirs.pth`` and ``ours.pth``, whose weights are the same but for their auxiliary head.

    They fit networks with the fixture ``thin_resnet``.
    """
    folder = tmp_path_factory.mktemp("checkpoints")
    with pytest.MonkeyPatch.context() as patch:
        use(patch)
        write_release(folder / "theirs.pth", mean_iu=np.float64(0.02565273940081578), state_dict=thin_release_state())
        write_snapshot(folder / "ours.pth", memory=True)
    return folder


@pytest.fixture
def root(data: Path, tmp_path: Path) -> Path:
    """A data root of its own, the times of its files kept."""
    shutil.copytree(data, tmp_path / "root")
    return tmp_path / "root"
