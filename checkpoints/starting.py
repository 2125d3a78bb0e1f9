"""``train.py --snapshot``: a new run that starts from the weights, and the memory, of a checkpoint of either kind."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from checkpoints.recognition import Recognised
from checkpoints.run_files import load_weights, missing_entries, read_checkpoint
from checkpoints.understanding import (
    check_arch,
    check_classes,
    check_norms,
    check_own,
    foreign,
    recognised_in,
    stride_of,
    tell,
)
from network.deeplab import DeepLab
from utils.errors import UsageError

PARTS = {"memory": "memory", "aux": "auxiliary head"}  # which a network may have or not


def load_start(
    net: DeepLab, path: Path, config: Mapping[str, Any], *, arch: str, wt_layer: Sequence[int], image_in: bool
) -> None:
    """Put the weights of ``path`` into ``net``, which ``config`` describes; a memory or auxiliary head that
    it has not is left out, with a note.  UsageError where the file contradicts the flags."""
    content = read_checkpoint(path, "--snapshot")
    missing = missing_entries(content)
    weights: dict[str, Tensor] = foreign(path, content, missing).weights if missing else content["weights"]
    if not missing:
        check_own(path, content["network"], wt_layer=wt_layer, image_in=image_in)
        check_classes(content["network"], config, f"--snapshot {path}")
    found = recognised_in(weights, path)
    check_arch(path, arch, archs=found.archs)
    check_norms(path, wt_layer, found=found)
    check_parts(net, path, found=found)
    unused = {"memory": net.memory is None and found.slots, "aux": net.aux is None and found.aux}
    used = {key: value for key, value in weights.items() if not unused.get(key.partition(".")[0])}
    load_weights(net, used, f"--snapshot {path}")
    if not missing:
        tell_changes(path, content["network"], config)
    left_out = [told for part, told in PARTS.items() if unused[part]]
    tell(f"starts from {path}" + (f", without its {' and '.join(left_out)}" if left_out else ""))


def tell_changes(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Note in what the network of a checkpoint of ours goes on otherwise, although its weights fit."""
    if (old := stride_of(before)) != (new := stride_of(now)):
        tell(f"{path}: of output stride {old}, used at {new}")
    if before["memory"] and now["memory"]:
        old, new = before["memory"]["read_temp"], now["memory"]["read_temp"]
        if old != new:
            tell(f"{path}: its memory was read at --read_temp {old}, and is now at {new}")


def check_parts(net: DeepLab, path: Path, *, found: Recognised) -> None:
    """That the checkpoint has what ``net`` has, in the same size."""
    classes = net.classifier.out_channels
    if found.num_classes != classes:
        raise UsageError(f"{path}: has {found.num_classes} classes, not {classes}; name another checkpoint")
    if net.aux is not None and not found.aux:
        raise UsageError(f"{path}: has no auxiliary head; add --no_aux_loss to train without one")
    if net.memory is None:
        return
    if not found.slots:
        raise UsageError(f"--memory: {path} holds none; drop --memory or name a checkpoint trained with it")
    held, asked = (found.slots, found.dim), tuple(net.memory.items.shape)
    if held != asked:
        told = f"--mem_slot {held[0]} --mem_dim {held[1]}"
        raise UsageError(f"{path}: its memory is not {asked[0]} x {asked[1]}; give {told}")
