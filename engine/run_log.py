"""The folder of a run and its log."""

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar

from engine.tracker import Tracker
from utils.errors import UsageError
from utils.files import without_nan, write_text
from utils.forms import WHOLE, misfit

ROW = {"kind": str, "iteration": WHOLE, str: object}  # the form (utils/forms.py) of a row of metrics.jsonl


def create_run_folder(root: Path, experiment: str) -> Path:
    """A new folder ``root/experiment/time``; runs started in the same second get a number.  UsageError if it fails."""
    stamp, parent = time.strftime("%Y-%m-%d_%H-%M-%S"), root / experiment
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for number in count(1):
            folder = parent / (stamp if number == 1 else f"{stamp}_{number}")
            with suppress(FileExistsError):
                folder.mkdir()
                return folder
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror}; name another folder for runs by --exp_root") from error


def code_version() -> str:
    """The commit of the code, with ``-dirty`` for changed files; 'unknown' outside of a git checkout."""
    root = Path(__file__).parent.parent
    command = ["git", "-C", str(root), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


class RunLog:
    """One JSON line per iteration or validation in ``metrics.jsonl``, the same as TensorBoard curves and pictures.

    ``iteration`` counts the iterations done.  With ``start`` above 0 the log of a stopped run continues: rows after
    ``start``, and validations after ``validated``, are removed, since the run will write them again.  Events are
    written without a thread, so that a full disk raises an error at once.  ``tracker`` gets the same curves.
    """

    def __init__(self, folder: Path, *, start: int, validated: int, tracker: str, flags: Mapping[str, Any]):
        path = folder / "metrics.jsonl"
        if start:
            write_text(path, "".join(rows_until(path, start, validated)))
        self.rows = path.open("a", buffering=1)
        (folder / "tensorboard").mkdir(exist_ok=True)
        own = f".{start:07}.{os.getpid()}"  # besides the second: a file of its own for every start
        self.events = EventsWriter(str(folder / "tensorboard" / "events"), own)
        if start:  # readers drop later events, which other files in the folder may hold
            purge = {"step": start + 1, "wall_time": time.time()}
            self.events.write_event(Event(session_log=SessionLog(status=SessionLog.START), **purge))
        self.tracker = Tracker(tracker, folder, flags)

    def write(self, kind: str, iteration: int, values: Mapping[str, float], **facts: str) -> None:
        """A row of ``kind`` ('train', 'validation', 'pace', ...) with ``facts`` and ``values``, also as curves."""
        row = without_nan({"kind": kind, "iteration": iteration, **facts, **values})
        self.rows.write(json.dumps(row) + "\n")
        curve = "/".join([kind, *facts.values()])
        points = {f"{curve}/{name}": value for name, value in values.items() if row[name] is not None}
        for name, value in points.items():
            self.events.write_event(Event(step=iteration, wall_time=time.time(), summary=scalar(name, value)))
        if points:
            self.tracker.call("log", points, step=iteration)

    def write_bad_files(self, iteration: int, faults: Mapping[str, str]) -> None:
        """A row for each image that another one replaced; iteration 0 is before the first iteration."""
        for name, fault in faults.items():
            self.write("bad_file", iteration, {}, image=name, fault=fault)

    def flush(self) -> None:
        """Bring all rows and events to the disk: a checkpoint must not be ahead of its log."""
        self.rows.flush()
        os.fsync(self.rows.fileno())
        self.events.flush()

    def close(self) -> None:
        self.rows.close()
        self.events.close()
        self.tracker.call("finish")


def rows_until(path: Path, iteration: int, validated: int) -> Iterator[str]:
    """The lines of a log up to ``iteration``, and lines of others, but none that was not written in full."""
    for line in path.read_text("utf-8", "replace").splitlines(keepends=True) if path.exists() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if misfit(row, ROW) or row["iteration"] <= (validated if row["kind"] == "validation" else iteration):
            yield line
