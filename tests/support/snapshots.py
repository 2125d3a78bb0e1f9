"""Checkpoints of a small network with all classes, whose weights follow a rule."""

from pathlib import Path
from typing import Any

from checkpoints.run_files import write_checkpoint
from engine.build import network_from
from support.golden import seed_weights

MEMORY = {"slots": 19, "dim": 256, "momentum": 0.8, "read_temp": 1.0}


def write_snapshot(path: Path, *, memory: bool, iteration: int = 0, flags: dict[str, Any] | None = None) -> Path:
    config = {"arch": "network.deepv3plus.DeepR18V3PlusD", "num_classes": 19, "output_stride": 32, "aux": False}
    config |= {"dim": 256, "memory": MEMORY if memory else None}
    weights = seed_weights(network_from(config)).state_dict()
    content = {
        "network": config,
        "weights": weights,
        "iteration": iteration,
        "flags": flags or {"dataset": []},
        "code": "",
    }
    write_checkpoint(path, content)
    return path
