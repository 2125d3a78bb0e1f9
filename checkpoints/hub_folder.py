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
    """Return the checkpoint of ours in ``folder``; its weights alone if another project wrote it."""
    facts = read_json(folder / CONFIG, ANYTHING, remedy="fetch the folder again")
    weights = load_safely(folder / WEIGHTS)
    return {key: facts[key] for key in FACTS if key in facts} | {"weights": weights} if "network" in facts else weights


def without_paths(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flags that mean something on another machine: none with a path; own sources by their titles."""
    sources = flags.get("dataset") or ()
    names = titles(sources)
    shared = {name: value for name, value in flags.items() if os.sep not in str(value)}
    return shared | ({"dataset": [names.get(source, source) for source in sources]} if sources else {})
