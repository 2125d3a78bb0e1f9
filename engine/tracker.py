"""Trackers: programs of others that collect the curves of many runs."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from utils.errors import first_line
from utils.log import log
from utils.packages import need

TRACKERS = ("wandb", "trackio")
LONGEST = 128  # characters of a name in W&B


class Tracker:
    """Sends the rows of a run to the package ``name``; 'none' sends nothing.

    The run bears the name of its folder, so a run that goes on stays the same run there.  After the first failure there
    is one warning, and nothing more is sent: a tracker must not stop a training.
    """

    def __init__(self, name: str, folder: Path, flags: Mapping[str, Any]):
        self.name = name
        self.module = need_tracker(name)
        title = re.sub(r"[^\w.-]", "_", f"{folder.parent.name}_{folder.name}")[-LONGEST:]
        own = {"id": title, "dir": str(folder)} if name == "wandb" else {}  # Trackio knows a run by its name
        self.call("init", project="pinmem", name=title, config=dict(flags), resume="allow", **own)

    def call(self, function: str, *given: Any, **settings: Any) -> None:
        """Call a function of the package.  An error ends the tracking, and nothing else."""
        if self.module is None:
            return
        try:
            getattr(self.module, function)(*given, **settings)
        except Exception as error:  # whatever a package of others raises
            self.module = None
            reason = first_line(error).rstrip(".")
            log.warning(f"warning: --tracker {self.name}: {reason}; the run goes on without it")


def need_tracker(name: str) -> ModuleType | None:
    """The package, None for 'none'; UsageError if it is not installed."""
    remedy = f"install it with `pip install {name}`, or drop --tracker"
    return None if name == "none" else need(name, f"--tracker {name}", remedy=remedy)
