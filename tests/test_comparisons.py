"""The training scripts that test_script_runs.py leaves out, run in this process."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from test_script_runs import FIRST

import train as training
from datasets.demo import write_demo
from support.commands import ROBUSTNET, TRAIN
from support.scripts import ROBUSTNET as COMPARISONS
from support.scripts import SMALL_TRAINING, TRAINING, Copy

pytestmark = pytest.mark.usefixtures("thin_resnet")

# One of each kind; the others are slow.
KINDS = ["train_GS_baseline_DR50V3P.sh", "train_GSI_pinmem_DR50V3P.sh", "train_GSI_robustnet_DR50V3P.sh",
         "train_r50os16_cty_irw.sh", "train_r50os16_gtav_switchable.sh", "train_shuffle_gtav_ibn.sh"]  # fmt: skip
OTHERS = [
    pytest.param(name, marks=() if name in KINDS else pytest.mark.slow)
    for name in [*TRAIN, *ROBUSTNET]
    if name not in FIRST
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    domains = ["gtav", "synthia", "idd", "cityscapes"]
    write_demo(root, domains=domains, train=4, val=1, size=(64, 128), seed=1, workers=1)
    return root


@pytest.mark.parametrize("script", OTHERS)
def test_training(
    script: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: Callable[[int], None]
) -> None:
    threads(1)
    folder = TRAINING if script in TRAIN else COMPARISONS
    flags = [*SMALL_TRAINING.split(), *(["--mem_init_batches", "1"] if "pinmem" in script else [])]
    if "shuffle" not in script and "mobile" not in script:
        flags += ["--arch", "DeepR18V3PlusD"]
    program, *given = Copy(tmp_path).python_arguments(f"{folder}/{script}", *flags, DATA_ROOT=str(data))
    assert Path(program).name == "train.py"
    monkeypatch.chdir(tmp_path)
    training.main(given)
    (last,) = tmp_path.glob("runs/*/*/last.pth")
    assert torch.load(last, weights_only=True)["iteration"] == 2
