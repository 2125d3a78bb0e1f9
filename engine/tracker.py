"""Trackers: programs of others that collect the curves of many runs."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from utils.errors import first_line
from utils.log import log
from utils.packages import need

TRACKERS = ("wandb", "trackio")
PROJECT = "pinmem"
LONGEST = 128  # characters of a name in W&B


class Tracker:
    """Sends the rows of a run to the package ``name``.

    The run bears the name of its folder, so a run that goes on stays the same run there.  After the first failure there
    is one warning, and nothing more is sent: a tracker must not stop a training.
    """

    def __init__(self, name: str, folder: Path, flags: Mapping[str, Any]):
        self.name = name
        self.run: Any = None
        title = re.sub(r"[^\w.-]", "_", f"{folder.parent.name}_{folder.name}")[-LONGEST:]
        settings = {"project": PROJECT, "name": title, "config": dict(flags), "resume": "allow"}
        if name == "wandb":  # Trackio knows a run by its name
            settings |= {"id": title, "dir": str(folder)}
        with self.guarded():
            self.run = need_tracker(name).init(**settings)

    def write(self, iteration: int, values: Mapping[str, float]) -> None:
        with self.guarded():
            if self.run and values:
                self.run.log(dict(values), step=iteration)

    def close(self) -> None:
        with self.guarded():
            if self.run:
                self.run.finish()

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Within this context an error ends the tracking, and nothing else."""
        try:
            yield
        except Exception as error:  # whatever a package of others raises
            self.run = None
            log.warning(f"warning: --tracker {self.name}: {first_line(error)}; the run goes on without it")


def need_tracker(name: str) -> ModuleType:
    """The package; UsageError if it is not installed."""
    return need(name, f"--tracker {name}", remedy=f"install it with `pip install {name}`, or drop --tracker")
