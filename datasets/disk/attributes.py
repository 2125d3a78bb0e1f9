"""Attributes of images, such as weather and time of day, in the owners' JSON files."""

import json
import mmap
import re
from collections.abc import Collection, Sequence
from functools import lru_cache
from pathlib import Path

from utils.errors import UsageError, first_line
from utils.forms import read_json

# The head of an image in a file of all images; its labels follow, and have other attributes.
_HEAD = re.compile(rb'"name"\s*:\s*"([^"]+)"\s*,\s*"attributes"\s*:\s*(\{[^{}]*\})')
_FRAME, _REMEDY = {"attributes": {str: object}, str: object}, "fetch it again"


def attributes_of(home: Path, places: Sequence[str], stems: Collection[str]) -> dict[str, set[str]]:
    """Image -> the values of its attributes, from the first of the ``places`` that has a file; {} if none has.

    A place is a glob below ``home``: of files of all images, or with ``{stem}`` of a file for each image.
    """
    for place in places:
        heads: dict[str, dict[str, str]] = {}
        for file in home.glob(place.format(stem="*")):
            if "{stem}" not in place:
                heads |= _heads(file, file.stat().st_mtime_ns)
            elif file.stem in stems:
                heads[file.stem] = read_json(file, _FRAME, remedy=_REMEDY)["attributes"]
        if heads:
            return {stem: set(map(str, attributes.values())) for stem, attributes in heads.items()}
    return {}


@lru_cache(maxsize=4)
def _heads(path: Path, changed: int) -> dict[str, dict[str, str]]:
    """Image -> its attributes.  The file may have a gigabyte, so only the heads of its images are parsed.

    The result is kept until the file is changed, at a time in nanoseconds.
    """
    try:
        with path.open("rb") as file:
            text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # closed with its last match
            return {Path(match[1].decode()).stem: json.loads(match[2]) for match in _HEAD.finditer(text)}
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be used ({first_line(error)}); {_REMEDY}") from error
