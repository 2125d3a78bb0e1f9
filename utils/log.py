"""The folder of a run, and what is written there while it runs."""

import json
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter
from torch import Tensor

from utils.errors import UsageError


def create_run_folder(root: Path, experiment: str) -> Path:
    """A new folder ``root/experiment/time``; runs started in the same second get a number."""
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    parent = root.expanduser() / experiment
    for number in range(1, 100):
        folder = parent / (stamp if number == 1 else f"{stamp}_{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
        except OSError as error:
            raise UsageError(f"--exp_root {root}: cannot write there ({error}); name another folder") from error
    raise UsageError(f"--exp_root {root}: a hundred runs named {stamp}; give them names with --exp")


def code_version() -> str:
    """The commit of the code, with ``-dirty`` for changed files; 'unknown' outside of a git checkout."""
    root = Path(__file__).parent.parent
    command = ["git", "-C", str(root), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, default=str) + "\n")


class RunLog:
    """One JSON line per logged iteration or validation in ``metrics.jsonl``, the same as TensorBoard scalars."""

    def __init__(self, folder: Path):
        self.rows = (folder / "metrics.jsonl").open("a", buffering=1)
        self.board = SummaryWriter(str(folder / "tensorboard"))

    def write(self, kind: str, iteration: int, values: Mapping[str, float], **facts: str) -> None:
        """A row of ``kind`` ('train', 'validation') about what ``facts`` tell; every value is also a curve."""
        row = {"kind": kind, "iteration": iteration, **facts, **values}
        self.rows.write(json.dumps(row) + "\n")
        curve = "/".join([kind, *facts.values()])
        for name, value in values.items():
            self.board.add_scalar(f"{curve}/{name}", value, iteration)

    def picture(self, name: str, image: Tensor, iteration: int) -> None:
        """A picture (3,H,W uint8) for TensorBoard."""
        self.board.add_image(name, image, iteration)

    def close(self) -> None:
        self.rows.close()
        self.board.close()
