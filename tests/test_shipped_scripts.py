"""The scripts that train and evaluate as published: the command lines that they give to Python."""

import os
import re
import subprocess
import sysconfig
from pathlib import Path

import pytest

from engine.options.evaluation_options import parse_evaluation
from engine.options.training_command import parse_training
from support.commands import ABLATE, EVALUATE, PROCESSES, ROBUSTNET, TRAIN
from support.scripts import EVALUATION, ROOT, STAND_IN, TRAINING, Copy, call
from support.scripts import ROBUSTNET as COMPARISONS

MLDG, PINMEM = f"{TRAINING}/train_GS_mldg_DR50V3P.sh", f"{EVALUATION}/eval_pinmem_DR50V3P.sh"
SHELL = [ROOT / name for name in ("quickstart.sh", "test.sh", ".ci/run", "benchmarks/on_gpu.sh")]
SHELL += ROOT.glob("tools/*.sh")
SHELL += [path for folder in (TRAINING, EVALUATION) for path in sorted((ROOT / folder).rglob("*.sh"))]


def test_shellcheck(tmp_path: Path) -> None:
    """All scripts, and the Slurm job in the documentation."""
    program = Path(sysconfig.get_path("scripts")) / "shellcheck"  # installed by the extra ``test``
    (job,) = re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / "cluster.md").read_text(), re.DOTALL)
    (tmp_path / "job.sbatch").write_text(job)
    scripts = [script.relative_to(ROOT) for script in SHELL]
    done = subprocess.run([program, "-x", *scripts, tmp_path / "job.sbatch"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_scripts_are_complete_and_short() -> None:
    expected = {TRAINING: TRAIN, COMPARISONS: ROBUSTNET, EVALUATION: EVALUATE | ABLATE}
    for folder, names in expected.items():
        scripts = list((ROOT / folder).glob("*.sh"))
        assert {script.name for script in scripts} == names.keys()
        for script in scripts:
            assert len(script.read_text().splitlines()) <= 12 and os.access(script, os.X_OK)


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


@pytest.mark.parametrize("script", [*TRAIN, *ROBUSTNET])
def test_training_as_released(script: str, copy: Copy) -> None:
    """The command line of the release, apart from the folder of all runs, which is our default."""
    folder = TRAINING if script in TRAIN else COMPARISONS
    program, *arguments = copy.python_arguments(f"{folder}/{script}")
    assert program == str(copy.root / "train.py") and "--max_iter" in arguments
    given = parse_training(arguments)
    expected = parse_training([*(TRAIN | ROBUSTNET)[script].split(), "--recipe", "published"])
    assert given.run.exp_root == parse_training([]).run.exp_root
    assert given.flags == {**expected.flags, "exp_root": str(given.run.exp_root)}


@pytest.mark.parametrize("script", ROBUSTNET)
def test_scripts_name_the_published_batch(script: str) -> None:
    (images,) = re.findall(r"--bs_mult (\d+)", ROBUSTNET[script])
    text = (ROOT / COMPARISONS / script).read_text()
    assert f"Published batch: {PROCESSES[script]} processes of {images} images." in text
    assert f"\npublished_processes {PROCESSES[script]} " in text


@pytest.mark.parametrize("script", EVALUATE)
def test_evaluation_as_released(script: str, copy: Copy) -> None:
    line, snapshot = EVALUATE[script]
    folder = ["my images"] if "folder" in script else []
    for home in ("pretrained_models", "pretrained_model"):  # the second one is preferred
        file = copy.weights(f"{home}/{snapshot}")
        program, *arguments = copy.python_arguments(f"{EVALUATION}/{script}", *folder)
        expected = [*line.split(), "--recipe", "published", "--snapshot", str(file)]
        expected += ["--videopath", *folder] if folder else []
        assert program == str(copy.root / "eval.py") and parse_evaluation(arguments) == parse_evaluation(expected)


def test_environment_and_further_flags(copy: Copy) -> None:
    script = copy.root / MLDG
    train, evaluate = str(copy.root / "train.py"), str(copy.root / "eval.py")
    launcher = "-m torch.distributed.run --standalone --nproc_per_node"
    arguments = copy.python_arguments(script, "--exp", "my own", GPUS="3", DATA_ROOT="../my data")
    assert arguments[:8] == [*launcher.split(), "3", train, "--data_root", f"{copy.elsewhere}/../my data"]
    assert arguments[-2:] == ["--exp", "my own"]
    assert copy.python_arguments(script, "--plan", GPUS="2")[0] == train  # one process prints it
    assert copy.python_arguments(script, GPUS="1", DATA_ROOT="/data")[:3] == [train, "--data_root", "/data"]
    (copy.elsewhere / "last.pth").touch()
    arguments = copy.python_arguments(PINMEM, "--limit", "1", SNAPSHOT="last.pth", GPUS="2")
    assert arguments[:8] == [*launcher.split(), "2", evaluate, "--snapshot", f"{copy.elsewhere}/last.pth"]
    assert arguments[-2:] == ["--limit", "1"]


def test_evaluation_sets_glibc_tunables_that_are_not_set(copy: Copy) -> None:
    copy.program("python3", STAND_IN.replace('"$PWD" "$@"', '"$GLIBC_TUNABLES"'))
    (copy.elsewhere / "last.pth").touch()
    for tunables, expected in ((None, "glibc.malloc.tcache_count=0"), ("glibc.malloc.perturb=1",) * 2):
        done = copy.call(PINMEM, SNAPSHOT="last.pth", GLIBC_TUNABLES=tunables)
        assert (done.returncode, done.stdout) == (0, f"{expected}\n")


@pytest.mark.parametrize(
    ("flags", "environment", "processes"),
    [
        ([], {"CUDA_VISIBLE_DEVICES": "0,1,2,3,4"}, 4),
        ([], {"CUDA_VISIBLE_DEVICES": "5, 7"}, 2),
        ([], {"CUDA_VISIBLE_DEVICES": None}, 3),  # nvidia-smi counts them
        ([], {"CUDA_VISIBLE_DEVICES": "-1"}, 1),
        (["--device", "cpu"], {"CUDA_VISIBLE_DEVICES": "0,1"}, 1),
        (["--device=cpu"], {"CUDA_VISIBLE_DEVICES": "0,1"}, 1),
        ([], {"CUDA_VISIBLE_DEVICES": "0,1", "GPUS": "6"}, 6),
    ],
)
def test_number_of_processes(flags: list[str], environment: dict[str, str | None], processes: int, copy: Copy) -> None:
    copy.program("nvidia-smi", "#!/usr/bin/env bash\nprintf 'GPU %s: name\\n  MIG\\n' 0 1 2\n")
    done = copy.call(f"{COMPARISONS}/train_mobile_gtav_isw.sh", *flags, **environment)
    arguments = " ".join(done.stdout.splitlines()[1:])
    launcher = f"-m torch.distributed.run --standalone --nproc_per_node {processes} "
    assert done.returncode == 0 and arguments.startswith(launcher if processes > 1 else f"{copy.root}/train.py")
    note = f"note: a batch is {processes} x --bs_mult images; published were 4 x: set GPUS, or raise --bs_mult\n"
    assert done.stderr == ("" if processes == 4 or "GPUS" in environment else note)


def test_scripts_work_by_any_path(copy: Copy) -> None:
    link = copy.elsewhere / "train me"
    link.symlink_to(f"../my root/{MLDG}")
    for script in (link, Path("..") / "my root" / MLDG):
        assert copy.python_arguments(script)[0] == str(copy.root / "train.py")


@pytest.mark.parametrize(
    ("script", "flags", "environment", "message"),
    [
        (MLDG, [], {"GPUS": "two"}, "GPUS=two"),
        (MLDG, [], {"GPUS": "0"}, "GPUS=0"),
        (PINMEM, [], {}, "SNAPSHOT=FILE"),
        (PINMEM, [], {"SNAPSHOT": "no.pth"}, "no.pth"),
        (f"{EVALUATION}/eval_custumfolder_pinmem_DR50V3P.sh", [], {}, "usage:"),
        (f"{EVALUATION}/eval_custumfolder_pinmem_DR50V3P.sh", ["no folder"], {}, "no folder"),
    ],
)
def test_a_mistake_is_one_line(
    script: str, flags: list[str], environment: dict[str, str], message: str, copy: Copy
) -> None:
    done = copy.call(script, *flags, **environment)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_a_mistake_is_one_line_for_several_processes(tmp_path: Path) -> None:
    script = ROOT / TRAINING / "train_GS_pinmem_DR50V3P.sh"
    done = call(script, "--device", "cpu", folder=tmp_path, GPUS="2", DATA_ROOT="no data")
    assert done.returncode == 2 and f"{tmp_path}/no data" in done.stderr and done.stderr.count("\n") == 1
