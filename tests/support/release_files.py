"""Files as the authors' release writes them.  Golden h holds the names and shapes; the weights follow a rule."""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from checkpoints.release_format import release_content
from network.categorical_memory import CategoricalMemory
from network.deeplab import build_network
from support.golden import golden_path, seeded

EPOCH = 41


def release_state(name: str, shapes: Mapping[str, tuple[int, ...]] | None = None) -> "OrderedDict[str, Tensor]":
    """The state dict of the network that the goldens call ``name``, by the release's names, perhaps in other shapes."""
    state = OrderedDict()
    for line in golden_path(f"keys_{name}.txt").read_text().splitlines():
        if not line.startswith("#"):
            key, shape, _ = line.split("\t")
            sizes = () if shape == "scalar" else tuple(map(int, shape.split("x")))
            sizes = sizes if shapes is None else shapes[key]
            state[key] = torch.from_numpy(np.asarray(seeded(key, sizes)))
    return state


def thin_release_state() -> "OrderedDict[str, Tensor]":
    """The entries of ``r18v3p_mem`` in the shapes of today's network, which ``thin_resnet.use`` makes thin."""
    content = release_content(build_network("DeepR18V3PlusD", 19, memory=CategoricalMemory(19)).state_dict())
    return release_state("r18v3p_mem", {key: tuple(value.shape) for key, value in content["state_dict"].items()})


def release_memory() -> Tensor:
    return torch.from_numpy(seeded("module.memory.m_items", (19, 256)))


def release_file(name: str, **others: Any) -> dict[str, Any]:
    """All that such a file holds; ``others`` replace entries."""
    group = {"lr": 0.01, "momentum": 0.9, "nesterov": False, "foreach": None, "params": [0, 1, 2]}
    content = {
        "state_dict": release_state(name),
        "optimizer": {"state": {}, "param_groups": [group]},
        "scheduler": {"base_lrs": [0.01], "last_epoch": 0, "lr_lambdas": [None]},
        "epoch": EPOCH,
        "mean_iu": 0,
    }
    if name.endswith("mem"):
        content["memory"] = release_memory()
    return content | others


def write_release(path: Path, name: str = "r18v3p_mem", *, zipped: bool = True, **others: Any) -> Path:
    torch.save(release_file(name, **others), path, _use_new_zipfile_serialization=zipped)
    return path
