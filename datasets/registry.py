"""The data sets by name: those of ``datasets.entries``, their parts under a condition, and own ones."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from datasets.disk.layouts import Sample
from datasets.disk.splits import find_lists
from datasets.entries import ENTRIES
from datasets.own.custom import PREFIX, custom_spec, folder_of, is_custom
from datasets.spec import DatasetSpec
from utils.errors import UsageError

__all__ = ["NAMES", "SPECS", "DatasetSpec", "Sample", "check_name", "related", "spec", "titles"]

SPECS: dict[str, DatasetSpec] = {entry.name: entry for entry in ENTRIES}
NAMES = f"{', '.join(SPECS)}, a part like acdc_night, or {PREFIX}PATH"  # what the flags accept


def spec(
    name: str,
    *,
    gtav_labels: str = "ids",
    split_files: Sequence[Path | str] = (),
    title: str | None = None,
    divided: bool = False,
) -> DatasetSpec:
    """The data set ``name``.

    ``gtav_labels`` chooses its label table where the entry has several: 'ids', or 'colour' as published.
    ``split_files`` are lists of file names, or folders with lists, perhaps also of other data sets.  An own data set
    (``custom:PATH``) is called ``title``, and our rule divides it if it is ``divided`` and nothing else divides it.
    """
    if is_custom(name):
        return custom_spec(name, title=title or titles([name])[name], divided=divided)
    entry = _entry(name)
    lists = find_lists(split_files, allowed=[entry.name for entry in ENTRIES if entry.numbers])
    return replace(entry, table=entry.tables.get(gtav_labels, entry.table), lists=lists.get(name, {}))


def check_name(name: str) -> None:
    """UsageError if no data set has this name."""
    if not is_custom(name):
        _entry(name)


def _entry(name: str) -> DatasetSpec:
    """The data set of ours with this name, or the part of one that its conditions name: ``bdd100k_night_rainy``."""
    if name in SPECS:
        return SPECS[name]
    for entry in SPECS.values():
        if entry.conditions and name.startswith(f"{entry.name}_"):
            return entry.under(name.removeprefix(f"{entry.name}_").split("_"))
    raise UsageError(f"no data set is called {name}: choose from {NAMES} for your own")


def related(*names: str) -> bool:
    """Whether two data sets are the same, or one is a part of the other under a condition, as acdc_fog of acdc."""
    fewer, more = sorted((name.split("_") for name in names), key=len)
    conditions = SPECS[more[0]].conditions if more[0] in SPECS else ()
    return fewer == more or (fewer[0] == more[0] and {*fewer[1:]} <= {*more[1:]} <= {*conditions})


def titles(names: Iterable[str]) -> dict[str, str]:
    """The titles of own data sets in results and file names: the folder's name, joined to the names of the folders
    around it until no data set before it, and none of ours, has the same title."""
    taken = {*SPECS, *(f"{name}_{condition}" for name in SPECS for condition in SPECS[name].conditions)}
    chosen: dict[str, str] = {}
    for name in dict.fromkeys(filter(is_custom, names)):
        *folders, title = [re.sub(r"[^\w.-]+", "_", part) for part in folder_of(name).parts]
        while title.lower() in taken:
            title = f"{folders.pop() if folders else 'custom'}_{title}"
        chosen[name] = title
        taken.add(title.lower())
    return chosen
