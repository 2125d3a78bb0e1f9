"""Checkpoints of runs with a frozen encoder hold only what was trained, and where the rest comes from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from checkpoints.run_files import weights_hash
from network.archs import short_name
from network.backbones import build_backbone
from network.tuning import BACKBONE, frozen_entries
from utils.errors import UsageError
from utils.files import no_file

RESAMPLED = "pos_embed", "patch_embed.proj.weight"  # by timm; the last bits depend on the processor and its threads


def frozen_facts(net: nn.Module, source: str) -> dict[str, str] | None:
    """Where the frozen weights come from, and their hash; None if all train.  ``source`` is 'imagenet' or a file."""
    names = left_out(net)
    if not names:
        return None
    weights = {name: value for name, value in net.state_dict().items() if name in names}
    source = source if source == "imagenet" else str(Path(source).absolute())
    return {"source": source, "hash": weights_hash(weights)}


def left_out(net: nn.Module) -> set[str]:
    """The frozen entries that a checkpoint need not hold, because a file gives them again in every bit."""
    return {name for name in frozen_entries(net) if not name.endswith(RESAMPLED)}


def trained_weights(net: nn.Module, frozen: object) -> dict[str, Tensor]:
    """The entries of ``net`` that a checkpoint holds: without frozen ones, if it says where these come from."""
    without = left_out(net) if frozen else ()
    return {name: value for name, value in net.state_dict().items() if name not in without}


def completed(content: Mapping[str, Any], source: str, *, pretrained: str | None = None) -> dict[str, Any]:
    """A checkpoint of ours with all its weights.  ``pretrained`` is where the frozen ones are now.

    UsageError, which begins with ``source``, if they are not those of the training.
    """
    config = content["network"]
    if not (frozen := config.get("frozen")):
        return dict(content)
    where, weights = pretrained or frozen["source"], content["weights"]
    if not (problem := no_file(Path(where)) if where != "imagenet" else ""):
        facts = {"pretrained": where, "image_in": config.get("image_in", False)}
        entries = build_backbone(config["arch"], config["output_stride"], **facts).state_dict().items()
        missing = {BACKBONE + name: value for name, value in entries if BACKBONE + name not in weights}
        problem = "other weights" if weights_hash(missing) != frozen["hash"] else ""
    if problem:
        raise UsageError(
            f"{source}: the weights of its frozen {short_name(config['arch'])} are not in {where} ({problem}); put "
            "them back, or give their file by --pretrained_backbone of eval.py or of train.py --resume"
        )
    return {**content, "weights": missing | weights, "network": {**config, "frozen": None}}


def merged(content: Mapping[str, Any]) -> dict[str, Any]:
    """A complete checkpoint of ours with low-rank updates added to the weights: the same network with --tune all."""
    weights = dict(content["weights"])
    for layer in [name.removesuffix(".up") for name in weights if name.endswith(".up")]:
        up, down = weights.pop(f"{layer}.up"), weights.pop(f"{layer}.down")
        weights[f"{layer}.weight"] = torch.addmm(weights[f"{layer}.weight"], up, down)
    tuning = {"tune": "all", "norms": "rest"} if "tune" in content["network"] else {}
    return {**content, "weights": weights, "network": content["network"] | tuning}
