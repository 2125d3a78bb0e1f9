"""From flags to data sets, and what is told and kept about the images that were found.  Imports no torch."""

import hashlib
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from datasets.layouts import Pairs
from datasets.specs import DatasetSpec, Sample, spec


def data_set(args: Namespace, name: str) -> DatasetSpec:
    """The data set of that name, read and divided as the flags say."""
    return spec(name, gtav_labels=args.gtav_labels, split_files=args.split_file or ())


def fingerprint(samples: Sequence[Sample]) -> str:
    """A short hash of the names of the images that were used."""
    return hashlib.sha256("\n".join(sample.name for sample in samples).encode()).hexdigest()[:16]


def facts(pairs: Pairs) -> dict[str, Any]:
    """What is kept about the images of a split."""
    return {"images": len(pairs), "hash": fingerprint(pairs), "layout": pairs.layout, "split_by": pairs.split_by}


def count(pairs: Pairs) -> str:
    """How many images there are, and how many were expected if that differs."""
    other = pairs.expected not in (None, len(pairs))
    return f"{len(pairs):,} images" + (f" ({pairs.expected:,} expected)" if other else "")


def found_how(pairs: Pairs) -> str:
    """Where the images are, in which layout, and by what they were divided, with their hash."""
    return f"{pairs.layout} in {pairs.home}, split by {pairs.split_by}, {fingerprint(pairs)}"


def report(sets: Sequence[tuple[str, Pairs]]) -> str:
    """Name by name what was found, then what the user should know about it, each line once."""
    lines = [f"{name}: {count(pairs)}, {found_how(pairs)}" for name, pairs in sets]
    return "\n".join(dict.fromkeys([*lines, *(note for _, pairs in sets for note in notes(pairs))]))


def notes(pairs: Pairs) -> list[str]:
    return [f"note: {note}" for note in pairs.notes]
