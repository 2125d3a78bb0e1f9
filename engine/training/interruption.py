"""Ctrl-C, SIGTERM and a closed terminal: save first, then end."""

import contextlib
import signal
import sys
from types import FrameType


class Stopped(Exception):  # noqa: N818 (no error, but an end)
    """A signal came while domains were being scored or covariance entries selected."""


class Interruption:
    """Within this context SIGINT, SIGTERM and SIGHUP are only remembered, the first one as ``number``.

    A second Ctrl-C acts at once.  A second SIGTERM is passed over: a cluster sends it to every process, and the
    launcher of the processes once more to each of them.
    """

    def __init__(self) -> None:
        self.number = 0

    def __enter__(self) -> "Interruption":
        numbers = {signal.SIGINT, signal.SIGTERM}
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # under nohup a closed terminal does not matter
            numbers.add(signal.SIGHUP)
        self.before = {number: signal.signal(number, self.remember) for number in numbers}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def remember(self, number: int, frame: FrameType | None) -> None:
        if self.number == 0:
            self.number = number
            with contextlib.suppress(OSError, RuntimeError):  # a signal handler cannot always print
                print(f"\n{signal.Signals(number).name}: saving, then ending; Ctrl-C: ends at once", file=sys.stderr)
        signal.signal(signal.SIGINT, self.before[signal.SIGINT])
