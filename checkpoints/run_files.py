"""The checkpoint files of a run: written whole or not at all, read without running code from them."""

import hashlib
import os
import shutil
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from checkpoints import NUMBERED
from checkpoints.safe_loading import Unreadable, load_safely
from utils.errors import UsageError, first_line
from utils.files import no_file, whole_file

# Readers rely on these entries in every checkpoint of ours; the others are missing in older files.
ENTRIES = {"network", "weights", "iteration", "flags", "code"}
NETWORK_ENTRIES = {"arch", "num_classes", "output_stride", "aux", "dim", "memory"}


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint to the disk.  Raises OSError, or RuntimeError, which torch raises when the disk is full."""
    with whole_file(path) as partial, partial.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())


def save_numbered(folder: Path, content: dict[str, Any], *, keep: int, best: bool) -> None:
    """Save a run under the number of its iteration and as ``last.pth``, with ``best`` also as ``best.pth``.

    Only the newest ``keep`` numbered checkpoints stay.  UsageError if there is no space.
    """
    path = folder / f"iteration_{content['iteration']:07d}.pth"
    try:
        write_checkpoint(path, content)
    except (OSError, RuntimeError) as error:
        raise UsageError(
            f"{path}: cannot be written ({first_line(error)}); earlier checkpoints are intact; free some space, then "
            f"continue with --resume {folder}"
        ) from error
    publish(path, best=best)
    for old in numbered(folder)[:-keep]:
        old.unlink()


def numbered(folder: Path) -> list[Path]:
    """Return the numbered checkpoints in ``folder``, the oldest first."""
    return sorted(folder.glob(NUMBERED))


def publish(path: Path, *, best: bool) -> None:
    """Make the file ``path`` available as ``last.pth``, with ``best`` also as ``best.pth``, without a second copy."""
    for name in ("best.pth", "last.pth") if best else ("last.pth",):
        with whole_file(path.with_name(name)) as link:
            try:
                os.link(path, link)
            except OSError:  # not every file system has hard links
                shutil.copyfile(path, link)


def read_checkpoint(path: Path, flag: str) -> Any:
    """Return the content of any checkpoint.  UsageError, which begins with ``flag``, if it cannot be read or holds a
    weight that is NaN or infinite."""
    if problem := no_file(path):
        raise UsageError(f"{flag} {path}: {problem}; give the path of a checkpoint, e.g. RUN/last.pth")
    try:
        content = load_safely(path)
    except Unreadable as error:
        raise UsageError(
            f"{flag} {path}: not a readable checkpoint ({error}); give a file of train.py or of the authors"
        ) from error
    check_finite(content, f"{flag} {path}")
    return content


def check_finite(content: Any, source: str) -> None:
    """UsageError with the name of the first weight that is NaN or infinite.

    Our files hold their weights in "weights", those of the authors in "state_dict" and "memory"; a bare state dict
    consists of weights.
    """
    outer = content if isinstance(content, Mapping) else {}
    parts = [part for part in (outer, outer.get("weights"), outer.get("state_dict")) if isinstance(part, Mapping)]
    for name, value in chain.from_iterable(part.items() for part in parts):
        if isinstance(value, Tensor) and value.is_floating_point() and not value.isfinite().all():
            raise UsageError(f"{source}: {name} holds NaN or infinite numbers; give an earlier or another checkpoint")


def is_ours(content: Any) -> bool:
    """Return whether ``content`` is that of a checkpoint of ``train.py``."""
    if not isinstance(content, dict) or not content.keys() >= ENTRIES:
        return False
    network = content["network"]
    return isinstance(network, dict) and network.keys() >= NETWORK_ENTRIES


def load_checkpoint(path: Path, flag: str = "--snapshot") -> dict[str, Any]:
    """Return the content of a checkpoint of ``train.py``, which ``flag`` names."""
    content = read_checkpoint(path, flag)
    if not is_ours(content):
        raise UsageError(f"{flag} {path}: not a checkpoint of train.py; give RUN/last.pth")
    return content


def load_weights(net: nn.Module, weights: dict[str, Any], source: str) -> None:
    """Load ``weights``, which must fit exactly.  ``source`` begins the error message: a flag and its file."""
    try:
        net.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise UsageError(f"{source}: does not fit the network: {' '.join(str(error).split())}") from error


def weights_hash(weights: Mapping[str, Tensor]) -> str:
    """Return a short hash of all weights, which identifies a network whatever its file is called."""
    digest = hashlib.sha256()
    for tensor in weights.values():
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]
