"""The shipped scripts, called as a user would, with Python or with a stand-in that prints its arguments."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

Done = subprocess.CompletedProcess[str]
ROOT = Path(__file__).parent.parent.parent
TRAINING, EVALUATION = "pinmem_train_scripts", "pinmem_eval_abla_scripts"
ROBUSTNET = f"{TRAINING}/robustnet_scripts"
THIN_PYTHON = Path(__file__).parent / "thin_python"
# Further flags for a run of two iterations in the folder runs.
SMALL_TRAINING = "--val_dataset cityscapes --pretrained_backbone none --bs_mult 2 --max_iter 2 --val_images 1 "
SMALL_TRAINING += "--crop_size 64 --val_interval 2 --num_workers 0 --device cpu --exp_root runs"
# Stands in for Python: prints its folder and its arguments.
STAND_IN = '#!/usr/bin/env bash\ncase $1 in */tools/requirements.py) exit 0 ;; esac\nprintf "%s\\n" "$PWD" "$@"\n'


def thin_call(script: Path, *flags: str, folder: Path, **environment: str) -> Done:
    """Run a script whose programs have thin networks; see ``thin_resnet``."""
    programs = {"TEST_PYTHON": sys.executable, "PYTHON_EXEC": str(THIN_PYTHON / "python3")}
    return call(script, *flags, folder=folder, python=THIN_PYTHON, **programs, **environment)


def call(script: Path, *flags: str, folder: Path, python: Path | None = None, **environment: str | None) -> Done:
    """Run a script from ``folder``, with the Python that runs the tests, or the one in the folder ``python``."""
    path = f"{python or Path(sys.executable).parent}:{os.environ['PATH']}"
    cleared = dict.fromkeys(("DATA_ROOT", "GPUS", "SNAPSHOT", "CUDA_VISIBLE_DEVICES"), "")
    settings = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", **cleared, **environment}
    settings = {name: value for name, value in settings.items() if value is not None}
    return subprocess.run([script, *flags], cwd=folder, env=settings, capture_output=True, text=True)


class Copy:
    """The scripts below a folder with a space in its name, called from another folder with the stand-in."""

    def __init__(self, home: Path):
        self.root, self.elsewhere, self.python = home / "my root", home / "else where", home / "bin"
        for name in ("tools", TRAINING, EVALUATION):
            shutil.copytree(ROOT / name, self.root / name, ignore=shutil.ignore_patterns("__pycache__"))
        (self.elsewhere / "my images").mkdir(parents=True)
        self.python.mkdir()
        self.program("python3", STAND_IN)

    def program(self, name: str, content: str) -> None:
        """A program that the scripts call instead of an installed one."""
        (self.python / name).write_text(content)
        (self.python / name).chmod(0o755)

    def call(self, script: str | Path, *flags: str, **environment: str | None) -> Done:
        return call(self.root / script, *flags, folder=self.elsewhere, python=self.python, **environment)

    def python_arguments(self, script: str | Path, *flags: str, **environment: str | None) -> list[str]:
        """The arguments with which a script calls Python, in the folder in which the script was called."""
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
