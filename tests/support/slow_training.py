"""train.py with a thin network on a slow disk, so that a kill can meet a checkpoint that is being written."""

import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

if __name__ == "__main__":
    import pytest

    import train
    from support.thin_resnet import use
    from utils.program import run_program

    fsync = os.fsync

    def slow_fsync(file: int) -> None:
        time.sleep(0.1)
        fsync(file)

    with pytest.MonkeyPatch.context() as patch:
        use(patch)
        patch.setattr(os, "fsync", slow_fsync)
        run_program("train.py", train.main)
