"""The classes that all data sets of a run share.  Imports no torch."""

from collections.abc import Iterable

from datasets.disk.layouts import some
from datasets.labels import STANDARD, ClassSet
from datasets.own.own_classes import FILE
from datasets.registry import DatasetSpec, spec
from utils.errors import UsageError


def shared_classes(names: Iterable[str]) -> ClassSet:
    """The classes of all these data sets; UsageError if two data sets differ."""
    first: DatasetSpec | None = None
    for dataset in map(spec, names):
        first = first or dataset
        if dataset.classes.names != first.classes.names:
            raise UsageError(
                f"{dataset.asked_as} has {describe_classes(dataset.classes)}, but {first.asked_as} has "
                f"{describe_classes(first.classes)}: the data sets of a run share their classes: map labels to them by "
                f"ids or colours in {FILE}, or leave one out"
            )
    return first.classes if first else STANDARD


def describe_classes(classes: ClassSet) -> str:
    if classes.names == STANDARD.names:
        return f"the {len(classes)} classes of Cityscapes"
    return f"{len(classes)} classes of its own ({some(classes.names, 5)})"
