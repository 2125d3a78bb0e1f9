"""A folder of weights to share, in Hugging Face's layout: ``model.safetensors``, ``config.json``, ``README.md``."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from checkpoints import CARD, CONFIG, WEIGHTS
from datasets.registry import titles
from utils.files import whole_file, write_json, write_text
from utils.forms import ANYTHING, read_json
from utils.safe_loading import load_safely

FACTS = ("network", "iteration", "flags", "code", "origin")  # of a checkpoint, besides its weights


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
    """Return the flags that mean something on another machine: none with a path; own data sets by their titles."""
    shared: dict[str, Any] = {}
    for name, value in flags.items():
        values = value if isinstance(value, list | tuple) else [value]
        names = titles(each for each in values if isinstance(each, str))
        values = [names.get(each, each) if isinstance(each, str) else each for each in values]
        if not any(isinstance(each, str) and os.path.isabs(each) for each in values):
            shared[name] = values if isinstance(value, list | tuple) else values[0]
    return shared
