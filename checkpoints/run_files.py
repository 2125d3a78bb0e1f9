"""Checkpoints: written whole or not at all, read without running code that is inside them."""

import hashlib
import os
import shutil
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from checkpoints.safe_loading import Unreadable, load_safely
from utils.errors import UsageError, first_line

ENTRIES = {"network", "weights", "iteration", "flags", "code"}  # what every checkpoint holds, and readers rely on
WEIGHTS = ("weights", "state_dict")  # where checkpoints, ours and the authors', hold theirs; bare ones are all weights
NAME = "iteration_{:07d}.pth"


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write to a temporary file beside ``path`` and rename it, so that ``path`` is never half a file; raises OSError or
    RuntimeError, by which torch tells a full disk."""
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except (OSError, RuntimeError):
        partial.unlink(missing_ok=True)
        raise


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """``write_checkpoint`` for a run, which can go on if there is no room."""
    try:
        write_checkpoint(path, content)
    except (OSError, RuntimeError) as error:
        raise UsageError(
            f"{path}: cannot be written ({first_line(error)}); what was saved before is whole; make room, then go on "
            f"with --resume {path.parent}"
        ) from error


def save_numbered(folder: Path, content: dict[str, Any], *, keep: int, best: bool) -> None:
    """Save into ``folder`` under the iteration's number, the newest ``keep`` of which stay, and as ``last.pth``; with
    ``best`` as ``best.pth`` too."""
    path = folder / NAME.format(content["iteration"])
    save_checkpoint(path, content)
    publish(path, best=best)
    for old in numbered(folder)[:-keep]:
        old.unlink()


def publish(path: Path, *, best: bool) -> None:
    """Let ``last.pth``, and with ``best`` also ``best.pth``, be the file ``path``; it takes no room twice."""
    for name in ("best", "last") if best else ("last",):
        link = path.with_name(f"{name}.partial")
        link.unlink(missing_ok=True)
        try:
            os.link(path, link)
        except OSError:  # not every file system has hard links
            shutil.copyfile(path, link)
        os.replace(link, path.with_name(f"{name}.pth"))
        link.unlink(missing_ok=True)  # renaming does nothing where both are the same file already


def remove_partial(folder: Path) -> None:
    """Take away what a killed process had begun to write."""
    for path in folder.glob("*.partial"):
        path.unlink()


def numbered(folder: Path) -> list[Path]:
    """The numbered checkpoints in ``folder``, oldest first."""
    return sorted(folder.glob(NAME.format(0).replace("0000000", "*")))


def read_checkpoint(path: Path, flag: str) -> Any:
    """The content of the file that ``flag`` names, whoever wrote it; nothing in it is executed.  UsageError also where
    weights are not numbers."""
    if not path.is_file():
        raise UsageError(f"{flag} {path}: no such file; give the path of a checkpoint, e.g. RUN/last.pth")
    try:
        content = load_safely(path)
    except Unreadable as error:
        raise UsageError(
            f"{flag} {path}: not a readable checkpoint ({error}); give a file of train.py or of the authors"
        ) from error
    check_finite(content, f"{flag} {path}")
    return content


def check_finite(content: Any, called: str) -> None:
    """UsageError, which begins with ``called``, if a weight in the content of a checkpoint of either kind is NaN or
    infinite; entries are called as the file calls them."""
    if not isinstance(content, Mapping):
        return
    parts = [content, *(content[key] for key in WEIGHTS if isinstance(content.get(key), Mapping))]
    for name, value in chain.from_iterable(part.items() for part in parts):
        dense = isinstance(value, Tensor) and value.layout is torch.strided
        if dense and value.is_floating_point() and not value.isfinite().all():
            raise UsageError(
                f"{called}: {name} holds NaN or infinite numbers, as a training that failed leaves behind; give an "
                "earlier or another checkpoint"
            )


def weights_hash(weights: Mapping[str, Tensor]) -> str:
    """A short hash of all numbers, which tells whether a file of the same name still holds the same network."""
    found = hashlib.sha256()
    for tensor in weights.values():
        found.update(tensor.contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()[:16]


def missing_entries(content: Any) -> list[str]:
    """What ``content`` lacks to be a checkpoint of ``train.py``."""
    return sorted(ENTRIES - content.keys() if isinstance(content, dict) else ENTRIES)


def load_checkpoint(path: Path, flag: str = "--snapshot") -> dict[str, Any]:
    """The checkpoint of ``train.py`` that ``flag`` names."""
    content = read_checkpoint(path, flag)
    if missing := missing_entries(content):
        raise UsageError(
            f"{flag} {path}: not a checkpoint of train.py, without {', '.join(missing)}; give RUN/last.pth"
        )
    return content


def load_weights(net: nn.Module, weights: dict[str, Any], source: str) -> None:
    """Load strictly from ``source``, a flag and its file; what is missing, unexpected or of another shape is listed."""
    try:
        net.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise UsageError(f"{source}: does not fit the network: {' '.join(str(error).split())}") from error
