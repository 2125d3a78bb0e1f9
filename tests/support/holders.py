"""Another program that writes into a folder."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
CODE = "import sys; from pathlib import Path; from utils.files import hold\n"
CODE += "with hold(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Within this context another process is the writer of ``folder``; then it is killed."""
    command = [sys.executable, "-c", CODE, str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        try:
            yield
        finally:
            other.kill()
