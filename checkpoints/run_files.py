"""Checkpoints on the disk, files and folders to share: written whole or not at all, read without running their code."""

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor, nn

from checkpoints import CARD, CONFIG, NUMBERED, WEIGHTS, no_checkpoint
from datasets.registry import titles
from network.options import NORMS
from utils.errors import UsageError, first_line
from utils.files import whole_file, write_json, write_text
from utils.forms import ANYTHING, misfit, read_json
from utils.options import IGNORE
from utils.safe_loading import Unreadable, load_safely

# The form (utils/forms.py) of what readers rely on in every checkpoint of ours; older files lack some entries.
COUNT, WIDTH, SWITCH = range(1, IGNORE + 1), range(1, 2**16), (..., bool)
MEMORY = {"slots": COUNT, "dim": WIDTH, "momentum": float, "read_temp": float, "centred": SWITCH, "residual": SWITCH}
NETWORK = {
    "arch": str,
    "num_classes": COUNT,
    "classes": (..., {"names": [str], "colours": [[range(256)] * 3]}),
    "output_stride": (None, range(8, 33, 8)),
    "aux": bool,
    "wt_layer": (..., [range(6)] * NORMS),
    "dim": WIDTH,
    "decoder_dim": (..., None, WIDTH),
    "memory": (None, MEMORY),
    "image_in": SWITCH,
    "tune": (..., str),
    "norms": (..., str),
    "frozen": (..., None, {"source": str, "hash": str}),
}
FLAGS = {"dataset": (..., None, [str]), str: object}
OURS = {"network": NETWORK, "weights": {str: Tensor}, "flags": FLAGS, "iteration": object, "code": object, str: object}
FACTS = ("network", "iteration", "flags", "code", "origin")  # that a folder to share holds, besides the weights


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
        go_on = f"continue with --resume {folder}; earlier checkpoints are intact"
        remedy = go_on if numbered(folder) else "start again"
        raise UsageError(f"{path}: cannot be written ({first_line(error)}); free some space, then {remedy}") from error
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
    """Return the content of any checkpoint, a file or a folder.

    UsageError, which begins with ``flag``, if it cannot be read, or if it is ours and an entry has another form than
    ``train.py`` gives it.
    """
    if problem := no_checkpoint(path):
        raise UsageError(f"{flag} {path}: {problem}; give the path of a checkpoint, e.g. RUN/last.pth")
    try:
        content = read_folder(path if path.is_dir() else path.parent) if is_shared(path) else load_safely(path)
    except Unreadable as error:
        raise UsageError(
            f"{flag} {path}: not a readable checkpoint ({error}); give a file of train.py or of the authors"
        ) from error
    if is_ours(content):
        check_form(content, OURS, f"{flag} {path}")
    return content


def is_shared(path: Path) -> bool:
    """Return whether the checkpoint ``path`` is a folder in Hugging Face's layout, or the weights in one."""
    return path.is_dir() or (path.name == WEIGHTS and not no_checkpoint(path.parent))


def check_form(content: Any, form: Any, source: str) -> None:
    """UsageError, which begins with ``source``, if ``content`` misfits ``form``."""
    if fault := misfit(content, form):
        raise UsageError(f"{source}: {fault}; give an earlier or another checkpoint")


def is_ours(content: Any) -> bool:
    """Return whether ``content`` is that of a checkpoint of ``train.py``."""
    return isinstance(content, dict) and content.keys() >= {"network", "weights"}


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
        first, *others = [shorten(line.rstrip(". "), 200, placeholder=" ...") for line in str(error).splitlines()[1:]]
        fault = f"{first}{f' and {len(others):,} more' if others else ''}"
        raise UsageError(f"{source}: does not fit the network: {fault}; give the flags of its training") from error


def weights_hash(weights: Mapping[str, Tensor]) -> str:
    """Return a short hash of all weights, which identifies a network whatever its file is called."""
    digest = hashlib.sha256()
    for tensor in weights.values():
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def write_folder(folder: Path, content: Mapping[str, Any], *, card: str) -> None:
    """Write the weights and facts of a checkpoint of ours, without the state of its training.  OSError if it fails."""
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).unlink(missing_ok=True)  # the folder is incomplete until the end
    weights = {key: value.contiguous() for key, value in content["weights"].items()}
    with whole_file(folder / WEIGHTS) as partial:
        partial.write_bytes(save(weights, {"format": "pt", "order": " ".join(weights)}))
    write_text(folder / CARD, card)
    write_json(folder / CONFIG, {"model_type": "pinmem"} | {key: content[key] for key in FACTS if key in content})


def read_folder(folder: Path) -> Any:
    """Return the checkpoint of ours in ``folder``; its weights alone if another project wrote it.

    Raises ``Unreadable`` for the weights, UsageError for the configuration.
    """
    facts = read_json(folder / CONFIG, ANYTHING, remedy="fetch the folder again")
    weights = load_safely(folder / WEIGHTS)
    return {key: facts[key] for key in FACTS if key in facts} | {"weights": weights} if "network" in facts else weights


def without_paths(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flags that mean something on another machine: none with a path; own sources by their titles."""
    sources = flags.get("dataset") or ()
    names = titles(sources)
    shared = {name: value for name, value in flags.items() if os.sep not in str(value)}
    return shared | ({"dataset": [names.get(source, source) for source in sources]} if sources else {})
