"""The scripts that train and evaluate as published, each on demo data."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from datasets.demo import write_demo
from support.scripts import EVALUATION, ROOT, SMALL_TRAINING, TRAINING, Done, thin_call

SMALL = "--arch DeepR18V3PlusD --crop_size 64 --num_workers 0 --device cpu"
FEW = ["--arch", "DeepR18V3PlusD", "--mem_init_batches", "1"]
TWO_PROCESSES = "two processes"
FIRST = ["train_GS_pinmem_DR50V3P.sh"]
EVALUATED = ["eval_custumfolder_pinmem_DR50V3P.sh", "eval_pinmem_DR50V3P.sh"]  # other flags: test_shipped_scripts.py


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("my place")
    domains = ["gtav", "synthia", "cityscapes"]
    write_demo(home / "data", domains=domains, train=4, val=2, size=(64, 128), seed=1, workers=1)
    return home


class Jobs:
    """Runs all scripts, two at a time, on demo data and small; ``folder`` waits for the results of one."""

    def __init__(self, home: Path, pool: ThreadPoolExecutor):
        self.home = home
        self.jobs = {script: pool.submit(self.train, script, script) for script in FIRST}
        self.jobs[TWO_PROCESSES] = pool.submit(
            self.train, "train_GG_pinmem_DR50V3P.sh", TWO_PROCESSES, "--bs_mult", "1", GPUS="2"
        )
        self.jobs |= {script: pool.submit(self.evaluate, script) for script in EVALUATED}

    def folder(self, name: str) -> Path:
        return self.jobs[name].result()

    def call(self, script: Path, *flags: str, **environment: str) -> Done:
        done = thin_call(script, *flags, folder=self.home, DATA_ROOT="data", **environment)
        assert done.returncode == 0, done.stderr
        return done

    def train(self, script: str, name: str, *flags: str, **environment: str) -> Path:
        self.call(ROOT / TRAINING / script, *SMALL_TRAINING.split(), *FEW, "--exp", name, *flags, **environment)
        (run,) = (self.home / "runs" / name).iterdir()
        return run

    def evaluate(self, script: str) -> Path:
        snapshot = self.folder(*FIRST).relative_to(self.home) / "last.pth"
        images = ["data/synthia/RGB/val"] if "folder" in script else []
        flags = [*images, *SMALL.split(), "--out", f"results/{script}"]
        self.call(ROOT / EVALUATION / script, *flags, SNAPSHOT=str(snapshot))
        return self.home / "results" / script


@pytest.fixture(scope="module")
def jobs(home: Path) -> Iterator[Jobs]:
    pool = ThreadPoolExecutor(2)
    yield Jobs(home, pool)
    pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("name", [*FIRST, TWO_PROCESSES])
def test_training(name: str, jobs: Jobs) -> None:
    run = jobs.folder(name)
    flags = json.loads((run / "flags.json").read_text())["flags"]
    assert (flags["recipe"], flags["max_iter"], flags["mem_init_batches"]) == ("published", 2, 1)
    assert torch.load(run / "last.pth", weights_only=True)["iteration"] == 2


@pytest.mark.parametrize("script", EVALUATED)
def test_evaluation(script: str, jobs: Jobs) -> None:
    results = jobs.folder(script)
    assert len({path.name for path in results.rglob("*.png")}) >= 2
    if "folder" not in script:
        assert list(json.loads((results / "results.json").read_text())["domains"]) == ["cityscapes"]
