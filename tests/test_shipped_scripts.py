"""The scripts that train and evaluate as published: what they ask Python for."""

import os
import re
import subprocess
import sysconfig
from argparse import Namespace
from pathlib import Path

import pytest

from engine.options.eval_flags import parse_evaluation
from engine.options.train_flags import parse_training
from support.commands import ABLATE, EVALUATE, PROCESSES, ROBUSTNET, TRAIN
from support.scripts import EVALUATION, ROOT, STAND_IN, TRAINING, Copy, call
from support.scripts import ROBUSTNET as COMPARISONS

SHELL = [*(ROOT / name for name in ("quickstart.sh", "test.sh", ".ci/run")), *ROOT.glob("tools/*.sh")]
SHELL += [path for folder in (TRAINING, EVALUATION) for path in sorted((ROOT / folder).rglob("*.sh"))]


def binary(name: str) -> str:
    """A program that the extra ``test`` installs."""
    return str(Path(sysconfig.get_path("scripts")) / name)


def test_shellcheck() -> None:
    names = [script.relative_to(ROOT).as_posix() for script in SHELL]
    done = subprocess.run([binary("shellcheck"), "-x", *names], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_shellcheck_of_the_slurm_job(tmp_path: Path) -> None:
    (job,) = re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / "cluster.md").read_text(), re.DOTALL)
    (tmp_path / "job.sbatch").write_text(job)
    done = subprocess.run([binary("shellcheck"), tmp_path / "job.sbatch"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_scripts_are_the_listed_ones_and_short() -> None:
    found = {
        folder: {path.name for path in (ROOT / folder).glob("*.sh")} for folder in (TRAINING, COMPARISONS, EVALUATION)
    }
    assert found == {TRAINING: set(TRAIN), COMPARISONS: set(ROBUSTNET), EVALUATION: {*EVALUATE, *ABLATE}}
    for script in (ROOT / folder / name for folder, names in found.items() for name in names):
        assert len(script.read_text().splitlines()) <= 12 and os.access(script, os.X_OK)


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


@pytest.mark.parametrize("script", [*TRAIN, *ROBUSTNET])
def test_training_as_released(script: str, copy: Copy) -> None:
    """The command line of the release, but for the folder of the runs, which is here that of all others."""
    folder = TRAINING if script in TRAIN else COMPARISONS
    program, *given = copy.asked(f"{folder}/{script}")
    assert program == str(copy.root / "train.py") and "--max_iter" in given
    expected = parse_training([*(TRAIN | ROBUSTNET)[script].split(), "--recipe", "published"])
    assert parse_training(given) == Namespace(**{**vars(expected), "exp_root": parse_training([]).exp_root})


@pytest.mark.parametrize("script", ROBUSTNET)
def test_published_batch_is_told(script: str) -> None:
    (images,) = re.findall(r"--bs_mult (\d+)", ROBUSTNET[script])
    text = (ROOT / COMPARISONS / script).read_text()
    assert f"Published batch: {PROCESSES[script]} processes of {images} images." in text
    assert f"\npublished_processes {PROCESSES[script]} " in text


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


def test_evaluation_leaves_fewer_holes_in_memory(copy: Copy) -> None:
    copy.program("python3", STAND_IN.replace('"$PWD" "$@"', '"$GLIBC_TUNABLES"'))
    (copy.elsewhere / "last.pth").touch()
    for given, expected in ((None, "glibc.malloc.tcache_count=0"), ("glibc.malloc.perturb=1",) * 2):
        done = copy.call(f"{EVALUATION}/eval_pinmem_DR50V3P.sh", SNAPSHOT="last.pth", GLIBC_TUNABLES=given)
        assert (done.returncode, done.stdout) == (0, f"{expected}\n")


@pytest.mark.parametrize(
    ("flags", "environment", "processes"),
    [
        ([], {"CUDA_VISIBLE_DEVICES": "0,1,2,3,4"}, 4),
        ([], {"CUDA_VISIBLE_DEVICES": "5, 7"}, 2),
        ([], {"CUDA_VISIBLE_DEVICES": None}, 3),  # nvidia-smi tells
        ([], {"CUDA_VISIBLE_DEVICES": "-1"}, 1),
        (["--device", "cpu"], {"CUDA_VISIBLE_DEVICES": "0,1"}, 1),
        (["--device=cpu"], {"CUDA_VISIBLE_DEVICES": "0,1"}, 1),
        ([], {"CUDA_VISIBLE_DEVICES": "0,1", "GPUS": "6"}, 6),
    ],
)
def test_as_many_processes_as_published_and_possible(
    flags: list[str], environment: dict[str, str | None], processes: int, copy: Copy
) -> None:
    copy.program("nvidia-smi", "#!/usr/bin/env bash\nprintf 'GPU %s: name\\n  MIG\\n' 0 1 2\n")
    done = copy.call(f"{COMPARISONS}/train_mobile_gtav_isw.sh", *flags, **environment)
    given = " ".join(done.stdout.splitlines()[1:])
    launched = f"-m torch.distributed.run --standalone --nproc_per_node {processes} "
    assert done.returncode == 0 and given.startswith(launched if processes > 1 else f"{copy.root}/train.py")
    told = f"note: a batch is {processes} x --bs_mult images; published were 4 x: set GPUS, or raise --bs_mult\n"
    assert done.stderr == ("" if processes == 4 or "GPUS" in environment else told)


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


def test_mistakes_are_told_once_for_several_processes(tmp_path: Path) -> None:
    script = ROOT / TRAINING / "train_GS_pinmem_DR50V3P.sh"
    done = call(script, "--device", "cpu", folder=tmp_path, GPUS="2", DATA_ROOT="no data")
    assert done.returncode == 2 and f"{tmp_path}/no data" in done.stderr and done.stderr.count("\n") == 1
