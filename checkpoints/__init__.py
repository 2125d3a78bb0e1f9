"""Checkpoints of this project, the authors' release and other frameworks: write, read safely, recognise, translate.

This file imports no torch.
"""

from pathlib import Path

from utils.files import no_file

NUMBERED = "iteration_" + 7 * "[0-9]" + ".pth"  # a glob of the checkpoints that a run numbers and deletes itself
WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"  # of a folder in Hugging Face's layout


def no_checkpoint(path: Path) -> str:
    """What is at ``path`` instead of a checkpoint; '' for a file, or a folder in Hugging Face's layout."""
    if not path.is_dir():
        return no_file(path)
    missing = [name for name in (WEIGHTS, CONFIG) if no_file(path / name)]
    return f"a folder without {' and '.join(missing)}" if missing else ""
