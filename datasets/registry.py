"""The data sets by name."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from datasets import labels
from datasets.disk.layouts import Sample
from datasets.disk.splits import find_lists
from datasets.own.custom import PREFIX, custom_spec, is_custom
from datasets.rows import ROWS
from datasets.spec import DatasetSpec
from utils.errors import UsageError

__all__ = ["SPECS", "DatasetSpec", "Sample", "spec"]

SPECS: dict[str, DatasetSpec] = {row.name: row for row in ROWS}


def spec(
    name: str,
    *,
    gtav_labels: str = "ids",
    split_files: Sequence[Path | str] = (),
    title: str | None = None,
    divided: bool = False,
) -> DatasetSpec:
    """The data set of that name; ``gtav_labels`` chooses how GTAV is read: 'ids' or (as published) 'colour'.

    ``split_files`` are the user's lists of file names, or folders with such lists, also of other data sets.  One's
    own data set is named ``custom:PATH``, is called ``title``, and is ``divided`` by a rule if nothing else divides it.
    """
    if is_custom(name):
        return custom_spec(name, title=title, divided=divided)
    check_name(name)
    tables = {"ids": labels.GTAV_IDS, "colour": labels.GTAV_COLOUR}
    if gtav_labels not in tables:
        raise UsageError(f"--gtav_labels {gtav_labels}: choose from {', '.join(tables)}")
    row = replace(SPECS[name], lists=_lists(split_files).get(name, {}))
    return replace(row, table=tables[gtav_labels]) if name == "gtav" else row


def check_name(name: str) -> None:
    """UsageError for what is no name of a data set."""
    if name not in SPECS and not is_custom(name):
        raise UsageError(f"no data set is called {name}: choose from {', '.join(SPECS)}, or {PREFIX}PATH for your own")


def _lists(split_files: Sequence[Path | str]) -> dict[str, dict[str, Path]]:
    """The user's lists, which are for data sets that come without a division into folders."""
    lists = find_lists(split_files)
    flat = [row.name for row in ROWS if row.numbers]
    for name, files in lists.items():
        if name not in flat:
            raise UsageError(
                f"--split_file {next(iter(files.values()))}: lists are for {' and '.join(flat)}, not for {name}; leave "
                "it out"
            )
    return lists
