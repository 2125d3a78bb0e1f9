"""What the parser of ``train.py`` answers to a mistake."""

import pytest

from engine.options.training_command import parse_training
from utils.errors import CommonError


def training_mistake(line: str, capsys: pytest.CaptureFixture) -> str:
    """The one line that answers a wrong command line."""
    try:
        parse_training(line.split())
    except CommonError as error:
        return str(error)
    except SystemExit as stopped:
        assert stopped.code == 2
        (message,) = capsys.readouterr().err.splitlines()
        return message
    raise AssertionError(f"accepted: {line}")
