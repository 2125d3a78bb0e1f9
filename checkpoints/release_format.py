"""The format of the authors' release and of RobustNet, on which it builds: entry names, reading and writing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from checkpoints.frameworks import from_framework
from utils.errors import UsageError
from utils.forms import misfit

PARALLEL = "module."  # the prefix that DataParallel puts before every name
STATES = "state_dict", "model_state_dict", "model"  # names of the state dict in a file
ITEMS = "memory.items"  # our name of the memory, which the release stores beside the state dict
PREFIXES = {  # theirs -> ours
    "layer0.": "encoder.backbone.stem.",
    "layer1.": "encoder.backbone.stages.0.",
    "layer2.": "encoder.backbone.stages.1.",
    "layer3.": "encoder.backbone.stages.2.",
    "layer4.": "encoder.backbone.stages.3.",
    "aspp.img_conv.": "encoder.aspp.pool.",
    "aspp.features.": "encoder.aspp.convs.",
    "aspp.conv2d_list.": "encoder.aspp.branches.",
    "bot_aspp.": "encoder.project.",
    "bot_fine.": "shallow.",
    "final1.": "decoder.",
    "final2.0.": "classifier.",
    "dsn.": "aux.",
    "memory.output.": "memory.fuse.",
    "memory.writenet.writefeat.": "memory.update.",
    "memory.clsfier.": "memory.classifier.",
    "memory.m_items": "memory.items",
}
ENDINGS = {  # of switchable whitening, theirs -> ours
    ".sw_mean_weight": ".mean_mixture",
    ".sw_var_weight": ".covariance_mixture",
    ".running_cov": ".running_covariance",
}


def to_ours(key: str) -> str:
    """Return our name for the release's ``key``, with or without ``module.``.  An unknown name stays as it is."""
    return translate(key.removeprefix(PARALLEL), PREFIXES, ENDINGS)


def to_release(key: str) -> str:
    """Return the release's name for our ``key``, with ``module.``."""
    prefixes, endings = ({ours: theirs for theirs, ours in names.items()} for names in (PREFIXES, ENDINGS))
    return PARALLEL + translate(key, prefixes, endings)


def translate(key: str, prefixes: Mapping[str, str], endings: Mapping[str, str]) -> str:
    for old, new in endings.items():
        if key.endswith(old):
            key = key.removesuffix(old) + new
    for old, new in prefixes.items():
        if key.startswith(old):
            return new + key.removeprefix(old)
    return key


def parse_release(content: Any, path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the weights, by our names, in a file of the release or a bare state dict, and what else it says.

    That is its format ('release', 'bare' or a framework), its epoch and its mean IoU.  UsageError for any other file.
    """
    outer = content if isinstance(content, Mapping) else {}
    state, memory = next((outer[name] for name in STATES if name in outer), outer), outer.get("memory")
    fault = misfit(state, {str: Tensor}) or misfit(memory, (None, Tensor), "memory")
    bare = {} if fault else {key.removeprefix(PARALLEL): value for key, value in state.items()}
    translated, framework = from_framework(bare, path)
    weights = {to_ours(key): value for key, value in translated.items()}
    if not weights or len(weights) < len(state):  # an entry is there twice, with ``module.`` and without
        raise UsageError(
            f"{path}: not a checkpoint of train.py, nor one of the authors' release with a state_dict of "
            f"tensors ({fault or 'entries are missing or there twice'}); give RUN/last.pth or their .pth file"
        )
    if state is content or framework:
        return weights, {"format": framework or "bare"}
    if isinstance(memory, Tensor):
        weights[ITEMS] = memory
    facts = {key: content[key] for key in ("epoch", "mean_iu") if isinstance(content.get(key), int | float)}
    return weights, {"format": "release"} | facts


def release_content(weights: Mapping[str, Tensor], *, epoch: float = 0, mean_iu: float = 0) -> dict[str, Any]:
    """Return the content of a file of the release with these weights.  Its optimizer and schedule are empty."""
    return {
        "state_dict": {to_release(key): value for key, value in weights.items() if key != ITEMS},
        "optimizer": {"state": {}, "param_groups": []},
        "scheduler": {},
        "epoch": epoch,
        "mean_iu": mean_iu,
        **({"memory": weights[ITEMS]} if ITEMS in weights else {}),
    }
