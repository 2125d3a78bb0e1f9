"""Checkpoints: written whole or not at all, read without running code that is inside them."""

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from utils.errors import UsageError, first_line

ENTRIES = {"network", "weights", "iteration", "flags", "code"}  # what every checkpoint holds, and readers rely on


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write to a temporary file beside ``path`` and rename it, so that ``path`` is never half a file."""
    partial = path.with_suffix(".partial")
    try:
        torch.save(content, partial)
        os.replace(partial, path)
    except (OSError, RuntimeError) as error:  # torch tells a full disk by a RuntimeError
        partial.unlink(missing_ok=True)
        raise UsageError(
            f"{path}: cannot be written ({first_line(error)}); what was saved before is whole; make room or name "
            "another --exp_root"
        ) from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UsageError(f"--snapshot {path}: no such file; give the path of a checkpoint, e.g. RUN/last.pth")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a broken or foreign file
        raise UsageError(
            f"--snapshot {path}: not a readable checkpoint ({first_line(error)}); give a file that train.py wrote"
        ) from error
    missing = ENTRIES - content.keys() if isinstance(content, dict) else ENTRIES
    if missing:
        raise UsageError(
            f"--snapshot {path}: not a checkpoint of train.py, without {', '.join(sorted(missing))}; give RUN/last.pth"
        )
    return content


def load_weights(net: nn.Module, weights: dict[str, Any], source: Path) -> None:
    """Load strictly; what is missing, unexpected or of another shape is listed."""
    try:
        net.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise UsageError(f"--snapshot {source}: does not fit the network: {' '.join(str(error).split())}") from error
