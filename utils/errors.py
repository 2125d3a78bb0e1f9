"""Errors that are answered with one line instead of a traceback."""


def first_line(error: BaseException) -> str:
    """What an error says, without the advice that some libraries add below."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class UsageError(Exception):
    """A mistake of the user; main programs print it as one line and exit with code 2.

    The message names the file or flag, what is wrong with it and the remedy.
    """

    def __init__(self, message: str) -> None:
        # A data loader rebuilds the error of a worker from the text of its traceback: keep the message at its end.
        super().__init__(message.rpartition(f"{__name__}.UsageError: ")[2].rstrip())


class CommonError(UsageError):
    """A mistake that all processes of a run know of; the first one tells it for all."""
