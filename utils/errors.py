"""Errors that are answered with one line instead of a traceback."""


class UsageError(Exception):
    """A mistake of the user; main programs print it as one line and exit with code 2.

    The message names the file or flag, what is wrong with it and the remedy.
    """

    def __init__(self, message: str) -> None:
        # A data loader rebuilds the error of a worker from the text of its traceback: keep the message at its end.
        super().__init__(message.rpartition(f"{__name__}.UsageError: ")[2].rstrip())
