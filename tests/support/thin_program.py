"""A program with thin networks in a process of its own: ``python tests/support/thin_program.py train.py FLAGS``."""

import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

if __name__ == "__main__":
    sys.path[:1] = [str(ROOT), str(ROOT / "tests")]
    del sys.argv[0]
    import pytest

    from support.thin_resnet import use

    with pytest.MonkeyPatch.context() as patch:
        use(patch)
        runpy.run_path(sys.argv[0], run_name="__main__")
