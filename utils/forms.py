"""Check that a file holds what its readers rely on.  Imports no torch."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.errors import UsageError, first_line

WHOLE = range(2**63)  # whole numbers from 0
ANYTHING = {str: object}  # a mapping of names to anything


def read_json(path: Path, form: Any, *, remedy: str) -> Any:
    """Return the content of a JSON file; UsageError, which ends with ``remedy``, if it is unreadable or misfits."""
    try:
        content = json.loads(path.read_text())
        problem = misfit(content, form)
    except (OSError, ValueError, RecursionError) as error:
        problem = first_line(error)
    if problem:
        raise UsageError(f"{path}: cannot be used ({problem}); {remedy}")
    return content


def misfit(value: Any, form: Any, place: str = "") -> str:
    """Return the first entry of ``value`` that differs from ``form``, and what it is; '' if none differs.

    Forms are

    - None, a type, or a range of whole numbers;
    - a tuple of forms: one of them must fit;
    - a list: the form of all items, or one form for each item;
    - a mapping of names to forms: a type in place of a name stands for all other names of that type;
    - ``...``: the entry may be missing.

    Numbers must not be NaN, and tensors must be finite.
    """
    place = place.removeprefix("/")
    if isinstance(form, tuple):
        faults = [misfit(value, each, place) for each in form] or [f"{place} is not known"]
        return "" if "" in faults else faults[-1]
    if isinstance(form, dict) and isinstance(value, Mapping):
        forms = {name: form.get(name, form.get(type(name), ())) for name in value}
        forms |= {name: each for name, each in form.items() if not isinstance(name, type)}
        faults = (misfit(value.get(name, ...), each, f"{place}/{name}") for name, each in forms.items())
        return next(filter(None, faults), "")
    if isinstance(form, list) and isinstance(value, list | tuple) and len(form) in (1, len(value)):
        faults = (misfit(item, form[k % len(form)], f"{place}/{k}") for k, item in enumerate(value))
        return next(filter(None, faults), "")
    shown = f"{value!r:.40}" if value is None or isinstance(value, str | int | float) else type(value).__name__
    fault = f"{place or 'the content'} is {'missing' if value is ... else shown}"
    if form is float:
        return "" if type(value) in (int, float) and not math.isnan(value) else fault
    if isinstance(form, range):
        return "" if type(value) is int and value in form else fault
    if not (isinstance(value, form) and value is not ... if isinstance(form, type) else value is form):
        return fault
    finite = form is object or not hasattr(value, "isfinite") or value.isfinite().all()
    return "" if finite else f"{place} holds NaN or infinite numbers"
