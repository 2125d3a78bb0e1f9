"""The logger of all programs.  Only the first process speaks, so no caller asks for its rank.

``log.info`` goes to standard output, ``log.warning`` to standard error, ``log.error`` too and from every process.  They
leave progress bars intact.
"""

import logging
import sys

from tqdm import tqdm

from utils.processes import rank


class Screen(logging.Handler):
    """Print each message as it is, above any progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr if record.levelno >= logging.WARNING else sys.stdout)


log = logging.getLogger("pinmem")
log.setLevel(logging.INFO)
log.propagate = False
if not log.handlers:  # torch.hub may load this module again
    log.addHandler(Screen())
log.addFilter(lambda record: rank() == 0 or record.levelno >= logging.ERROR)


def counted(number: int, noun: str) -> str:
    """A number with its noun: 1 image, 2 images."""
    return f"{number:,} {noun}" + ("s" if number != 1 else "")
