"""Errors that a program answers with one line instead of a traceback."""

MOST = 2000  # characters of a message, whatever a file holds


def first_line(error: BaseException) -> str:
    """The first line of an error's message; some libraries add advice below it."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class UsageError(Exception):
    """A mistake of the user; programs print it as one line and exit with code 2.

    The message names the file or flag, what is wrong, and the remedy.
    """

    def __init__(self, message: str) -> None:
        # A data loader rebuilds a worker's error from the text of its traceback; the message is at the end of that.
        line = message.rpartition(f"{__name__}.UsageError: ")[2].rstrip().replace("\n", " ")
        super().__init__(line if len(line) <= MOST else f"{line[: MOST // 2 - 5]} ... {line[-MOST // 2 :]}")


class CommonError(UsageError):
    """A mistake that all processes of a run have noticed; only the first one prints it."""


class Interrupted(Exception):  # noqa: N818 (no error, but an end)
    """A signal ended the program after all was saved; the message says how to go on."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.code = 128 + number
