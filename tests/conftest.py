"""Test-wide settings: two threads as on the smallest machine that must do, and the repository's root importable."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
torch.set_num_threads(2)
