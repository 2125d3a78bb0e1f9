"""Attributes of images, such as weather and time of day, in the owners' JSON files."""

import json
import mmap
import re
from collections.abc import Collection, Sequence
from functools import lru_cache
from pathlib import Path

from utils.errors import UsageError, first_line
from utils.forms import read_json

ATTRIBUTES = "attributes"
# The head of an image in a file of all images; its labels follow, and have other attributes.
_HEAD = re.compile(rb'"name"\s*:\s*"([^"]+)"\s*,\s*"attributes"\s*:\s*(\{[^{}]*\})')
_REMEDY = "fetch it again"


def attributes_of(home: Path, places: Sequence[str], stems: Collection[str]) -> dict[str, set[str]]:
    """Image -> the values of its attributes, from the first of the ``places`` that has a file; {} if none has.

    A place is a glob below ``home``: of files of all images, or with ``{stem}`` of a file for each image.
    """
    for place in places:
        files = sorted(home.glob(place.format(stem="*")))
        if files and "{stem}" in place:
            form = {ATTRIBUTES: {str: object}, str: object}
            own = {file.stem: file for file in files if file.stem in stems}
            read = {stem: read_json(file, form, remedy=_REMEDY)[ATTRIBUTES] for stem, file in own.items()}
        else:
            read = {stem: held for file in files for stem, held in _heads(file, file.stat().st_mtime_ns).items()}
        if read:
            return {stem: set(map(str, held.values())) for stem, held in read.items()}
    return {}


@lru_cache(maxsize=4)
def _heads(path: Path, changed: int) -> dict[str, dict[str, str]]:
    """Image -> its attributes.  The file may have a gigabyte, so only the heads of its images are parsed.

    The result is kept until the file is changed, at a time in nanoseconds.
    """
    try:
        with path.open("rb") as file:
            text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # closed with its last match
            heads = {Path(match[1].decode()).stem: json.loads(match[2]) for match in _HEAD.finditer(text)}
        problem = "" if heads else "no image with name and attributes in it"
    except (OSError, ValueError) as error:
        problem = first_line(error)
    if problem:
        raise UsageError(f"{path}: cannot be used ({problem}); {_REMEDY}")
    return heads
