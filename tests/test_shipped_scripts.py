"""The scripts that train and evaluate as published: what they ask for, and each of them on demo data."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from datasets.demo import write_demo
from engine.eval_flags import parse_evaluation
from engine.train_flags import parse_training

Done = subprocess.CompletedProcess[str]
ROOT = Path(__file__).parent.parent
TRAINING, EVALUATION = "pinmem_train_scripts", "pinmem_eval_abla_scripts"
UNSEEN = "--val_dataset cityscapes bdd100k mapillary"
NETWORK = "--arch network.deepv3plus.DeepR50V3PlusD"
COMMON = f"{UNSEEN} {NETWORK} --lr 0.01 --bs_mult 4 --gblur --color_aug 0.5"
MEMORY = "--memory --mem_readloss 0.02 --mem_divloss 0.4 --mem_clsloss 0.2 --mem_momentum 0.8"
PINMEM = f"{COMMON} --exp pinmem --mldg {MEMORY} --inner_lr_anneal"
TRAIN = {  # the release's command lines
    "train_GG_pinmem_DR50V3P.sh": f"--dataset gtav gtav {PINMEM}",
    "train_GSI_pinmem_DR50V3P.sh": f"--dataset gtav synthia idd {PINMEM}",
    "train_GS_baseline_DR50V3P.sh": f"--dataset gtav synthia {COMMON} --exp baseline",
    "train_GS_mldg_DR50V3P.sh": f"--dataset gtav synthia {COMMON} --exp mldg --mldg --inner_lr_anneal",
    "train_GS_pinmem_DR50V3P.sh": f"--dataset gtav synthia {PINMEM}",
}
SLIDING = "--inference_mode sliding --scales 1.0 --split val --crop_size 768 --dump_images"
POOLING = "--inference_mode pooling --scales 1.0 --no_flip --split val --crop_size 768 --dump_images"
FOLDER = "--inference_mode sliding --scales 1.5 --split val --crop_size 640 --dump_images --sliding_overlap 0.5"
OURS = f"{NETWORK} --memory --exp pinmem"
EVALUATE = {  # the release's command lines, without the snapshot, and their snapshots
    "eval_baseline_DR50V3P.sh": (
        f"--dataset cityscapes {SLIDING} {NETWORK} --exp baseline",
        "gta_synthia_DR50V3P/baseline/baseline_GS_DR50V3P.pth",
    ),
    "eval_custumfolder_pinmem_DR50V3P.sh": (
        f"--dataset video_folder {FOLDER} {OURS} --videopath .",
        "gta_synthia_idd_DR50V3P/ours/pinmem_GSI_DR50V3P.pth",
    ),
    "eval_pinmem_DR50V3P(noflip).sh": (
        f"--dataset cityscapes {POOLING} {OURS}",
        "gta_synthia_DR50V3P/ours/pinmem_GS_DR50V3P.pth",
    ),
    "eval_pinmem_DR50V3P.sh": (
        f"--dataset cityscapes {SLIDING} {OURS}",
        "gta_synthia_DR50V3P/ours/pinmem_GS_DR50V3P.pth",
    ),
}
FIGURES = f"--dataset gtav synthia cityscapes bdd100k --source_domain gtav synthia {NETWORK} --tsne"
ABLATE = {
    "abla_memact_pinmem_DR50V3P.sh": (
        f"--dataset cityscapes bdd100k mapillary --source_domain cityscapes {NETWORK} --memory --gumbel_off "
        "--mem_actmap",
        "gta_synthia_DR50V3P/ours/pinmem_GS_DR50V3P.pth",
    ),
    "abla_tsne_baseline_DR50V3P.sh": (FIGURES, "gta_synthia_DR50V3P/baseline/baseline_GS_DR50V3P.pth"),
    "abla_tsne_pinmem_DR50V3P.sh": (f"{FIGURES} --memory", "gta_synthia_DR50V3P/ours/pinmem_GS_DR50V3P.pth"),
}
# Stands in for Python: tells where it is and what it is given.
STAND_IN = '#!/usr/bin/env bash\ncase $1 in */tools/requirements.py) exit 0 ;; esac\nprintf "%s\\n" "$PWD" "$@"\n'
SHELL = [*(ROOT / name for name in ("quickstart.sh", "test.sh", ".ci/run")), *ROOT.glob("tools/*.sh")]
SHELL += [path for folder in (TRAINING, EVALUATION) for path in sorted((ROOT / folder).glob("*.sh"))]


def binary(name: str) -> str:
    """A program that the extra ``test`` installs."""
    return str(Path(sysconfig.get_path("scripts")) / name)


def call(script: Path, *flags: str, folder: Path, python: Path | None = None, **environment: str) -> Done:
    """Run a script from ``folder``, with the Python that runs the tests, or the one in the folder ``python``."""
    path = f"{python or Path(sys.executable).parent}:{os.environ['PATH']}"
    cleared = dict.fromkeys(("DATA_ROOT", "GPUS", "SNAPSHOT"), "")
    settings = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", **cleared, **environment}
    return subprocess.run([script, *flags], cwd=folder, env=settings, capture_output=True, text=True)


@pytest.mark.parametrize("script", SHELL, ids=lambda path: path.name)
def test_shellcheck(script: Path) -> None:
    name = script.relative_to(ROOT).as_posix()
    done = subprocess.run([binary("shellcheck"), "-x", name], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_shellcheck_of_the_slurm_job(tmp_path: Path) -> None:
    (job,) = re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / "cluster.md").read_text(), re.DOTALL)
    (tmp_path / "job.sbatch").write_text(job)
    done = subprocess.run([binary("shellcheck"), tmp_path / "job.sbatch"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_scripts_are_the_listed_ones_and_short() -> None:
    assert {path.name for path in (ROOT / TRAINING).iterdir()} == set(TRAIN)
    assert {path.name for path in (ROOT / EVALUATION).iterdir()} == {*EVALUATE, *ABLATE}
    for script in (path for folder in (TRAINING, EVALUATION) for path in (ROOT / folder).iterdir()):
        assert len(script.read_text().splitlines()) <= 10 and os.access(script, os.X_OK)


class Copy:
    """The scripts below a folder with a space in its name, called from another folder with the stand-in."""

    def __init__(self, home: Path):
        self.root, self.elsewhere, self.python = home / "my root", home / "else where", home / "bin"
        for name in ("tools", TRAINING, EVALUATION):
            shutil.copytree(ROOT / name, self.root / name, ignore=shutil.ignore_patterns("__pycache__"))
        (self.elsewhere / "my images").mkdir(parents=True)
        self.python.mkdir()
        (self.python / "python3").write_text(STAND_IN)
        (self.python / "python3").chmod(0o755)

    def call(self, script: str | Path, *flags: str, **environment: str) -> Done:
        return call(self.root / script, *flags, folder=self.elsewhere, python=self.python, **environment)

    def asked(self, script: str | Path, *flags: str, **environment: str) -> list[str]:
        """What Python is given; it is in the folder where the script was called."""
        done = self.call(script, *flags, **environment)
        assert done.returncode == 0, done.stderr
        folder, *given = done.stdout.splitlines()
        assert folder == str(self.elsewhere)
        return given

    def weights(self, name: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True)
        path.touch()
        return path


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


@pytest.mark.parametrize("script", TRAIN)
def test_training_as_released(script: str, copy: Copy) -> None:
    program, *given = copy.asked(f"{TRAINING}/{script}")
    assert program == str(copy.root / "train.py") and "--max_iter" in given
    assert parse_training(given) == parse_training([*TRAIN[script].split(), "--recipe", "published"])


@pytest.mark.parametrize("script", EVALUATE)
def test_evaluation_as_released(script: str, copy: Copy) -> None:
    line, snapshot = EVALUATE[script]
    folder = ["my images"] if "folder" in script else []
    for home in ("pretrained_models", "pretrained_model"):  # the second is preferred
        file = copy.weights(f"{home}/{snapshot}")
        program, *given = copy.asked(f"{EVALUATION}/{script}", *folder)
        expected = [*line.split(), "--recipe", "published", "--snapshot", str(file)]
        expected += ["--videopath", *folder] if folder else []
        assert program == str(copy.root / "eval.py") and parse_evaluation(given) == parse_evaluation(expected)


def test_environment_and_further_flags(copy: Copy) -> None:
    script = copy.root / TRAINING / "train_GS_mldg_DR50V3P.sh"
    given = copy.asked(script, "--exp", "my own", GPUS="3", DATA_ROOT="../my data")
    assert " ".join(given[:5]) == "-m torch.distributed.run --standalone --nproc_per_node 3"
    assert given[5:8] == [str(copy.root / "train.py"), "--data_root", f"{copy.elsewhere}/../my data"]
    assert given[-2:] == ["--exp", "my own"]
    assert copy.asked(script, "--plan", GPUS="2")[0] == str(copy.root / "train.py")  # told by one process
    assert copy.asked(script, GPUS="1", DATA_ROOT="/data")[:3] == [str(copy.root / "train.py"), "--data_root", "/data"]
    (copy.elsewhere / "last.pth").touch()
    given = copy.asked(f"{EVALUATION}/eval_pinmem_DR50V3P.sh", "--limit", "1", SNAPSHOT="last.pth", GPUS="2")
    assert " ".join(given[:5]) == "-m torch.distributed.run --standalone --nproc_per_node 2"
    assert given[5:8] == [str(copy.root / "eval.py"), "--snapshot", f"{copy.elsewhere}/last.pth"]
    assert given[-2:] == ["--limit", "1"]


def test_scripts_are_found_by_any_path(copy: Copy) -> None:
    link = copy.elsewhere / "train me"
    link.symlink_to(f"../my root/{TRAINING}/train_GS_mldg_DR50V3P.sh")
    for script in (link, Path("..") / "my root" / TRAINING / "train_GS_mldg_DR50V3P.sh"):
        assert copy.asked(script)[0] == str(copy.root / "train.py")


@pytest.mark.parametrize(
    ("script", "flags", "environment", "told"),
    [
        (f"{TRAINING}/train_GS_mldg_DR50V3P.sh", [], {"GPUS": "two"}, "GPUS=two"),
        (f"{TRAINING}/train_GS_mldg_DR50V3P.sh", [], {"GPUS": "0"}, "GPUS=0"),
        (f"{EVALUATION}/eval_pinmem_DR50V3P.sh", [], {}, "SNAPSHOT=FILE"),
        (f"{EVALUATION}/eval_pinmem_DR50V3P.sh", [], {"SNAPSHOT": "no.pth"}, "no.pth"),
        (f"{EVALUATION}/eval_custumfolder_pinmem_DR50V3P.sh", [], {}, "usage:"),
        (f"{EVALUATION}/eval_custumfolder_pinmem_DR50V3P.sh", ["no folder"], {}, "no folder"),
    ],
)
def test_mistakes_are_told_in_one_line(
    script: str, flags: list[str], environment: dict[str, str], told: str, copy: Copy
) -> None:
    done = copy.call(script, *flags, **environment)
    assert done.returncode == 2 and told in done.stderr and done.stderr.count("\n") == 1, done.stderr


# Each script on demo data, from another folder, with further flags that make it small; two at a time.

SMALL = "--arch DeepR18V3PlusD --crop_size 64 --num_workers 0 --device cpu"
SMALL_TRAINING = f"{SMALL} --val_dataset cityscapes --pretrained_backbone none --bs_mult 2 --max_iter 2 --val_images 1"
SMALL_TRAINING += " --val_interval 2 --mem_init_batches 1 --exp_root runs"
TWO_PROCESSES = "two processes"


class Jobs:
    """Every script's run, begun at once in a folder with demo data; ``folder`` waits for what one has written."""

    def __init__(self, home: Path, pool: ThreadPoolExecutor):
        self.home = home
        self.jobs = {script: pool.submit(self.train, script, script) for script in TRAIN}
        self.jobs[TWO_PROCESSES] = pool.submit(
            self.train, "train_GG_pinmem_DR50V3P.sh", TWO_PROCESSES, "--bs_mult", "1", GPUS="2"
        )
        self.jobs |= {script: pool.submit(self.evaluate, script) for script in EVALUATE}

    def folder(self, name: str) -> Path:
        return self.jobs[name].result()

    def call(self, script: Path, *flags: str, **environment: str) -> Done:
        done = call(script, *flags, folder=self.home, DATA_ROOT="data", **environment)
        assert done.returncode == 0, done.stderr
        return done

    def train(self, script: str, name: str, *flags: str, **environment: str) -> Path:
        self.call(ROOT / TRAINING / script, *SMALL_TRAINING.split(), "--exp", name, *flags, **environment)
        (run,) = (self.home / "runs" / name).iterdir()
        return run

    def evaluate(self, script: str) -> Path:
        method = "baseline" if "baseline" in script else "pinmem"
        snapshot = self.folder(f"train_GS_{method}_DR50V3P.sh").relative_to(self.home) / "last.pth"
        images = ["data/synthia/RGB/val"] if "folder" in script else []
        flags = [*images, *SMALL.split(), "--out", f"results/{script}"]
        self.call(ROOT / EVALUATION / script, *flags, SNAPSHOT=str(snapshot))
        return self.home / "results" / script


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    home = tmp_path_factory.mktemp("my place")
    domains = ["gtav", "synthia", "idd", "cityscapes"]
    write_demo(home / "data", domains=domains, train=4, val=2, size=(64, 128), seed=1, workers=1)
    pool = ThreadPoolExecutor(2)
    yield Jobs(home, pool)
    pool.shutdown(cancel_futures=True)


def test_mistakes_are_told_once_for_several_processes(tmp_path: Path) -> None:
    script = ROOT / TRAINING / "train_GS_pinmem_DR50V3P.sh"
    done = call(script, "--device", "cpu", folder=tmp_path, GPUS="2", DATA_ROOT="no data")
    assert done.returncode == 2 and f"{tmp_path}/no data" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", [*TRAIN, TWO_PROCESSES])
def test_training(name: str, jobs: Jobs) -> None:
    run = jobs.folder(name)
    flags = json.loads((run / "flags.json").read_text())["flags"]
    assert (flags["recipe"], flags["max_iter"], flags["mem_init_batches"]) == ("published", 2, 1)
    assert torch.load(run / "last.pth", weights_only=True)["iteration"] == 2


@pytest.mark.parametrize("script", EVALUATE)
def test_evaluation(script: str, jobs: Jobs) -> None:
    results = jobs.folder(script)
    assert len({path.name for path in results.rglob("*.png")}) >= 2
    if "folder" not in script:
        assert list(json.loads((results / "results.json").read_text())["domains"]) == ["cityscapes"]
