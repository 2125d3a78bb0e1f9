"""What a run keeps and prints about its images.  Imports no torch."""

import hashlib
import shlex
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

from datasets.check import check_sources
from datasets.check.findings import ERROR, REFUSED
from datasets.disk.layouts import Pairs
from datasets.images import LabelledImages
from datasets.options import BOOSTED, DataOptions
from datasets.registry import DatasetSpec, Sample, related
from engine.options.run_options import RunOptions
from utils.errors import UsageError
from utils.log import counted, log
from utils.processes import rank


def validation_sets(data: DataOptions, run: RunOptions) -> dict[str, list[LabelledImages]]:
    """Images to validate on: ``seen``, held-out images of the sources, and ``unseen``, those of the other domains."""
    roles = {"seen": run.sources, "unseen": [name for name in run.targets if name not in run.sources]}
    return {
        role: [data.images(name, "val", run.val_images) for name in dict.fromkeys(names)]
        for role, names in roles.items()
    }


def coarse_pairs(data: DataOptions) -> Pairs:
    """The coarsely labelled images of Cityscapes, for ``--coarse_boost_classes``."""
    return data.dataset(BOOSTED).pairs(data.root, "train_extra")


def fingerprint(samples: Sequence[Sample]) -> str:
    """A short hash of the names of the images."""
    names = "\n".join(sample.name for sample in samples)
    return hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest()[:16]


def role_of(names: Iterable[str], sources: Sequence[str] | None) -> str:
    """Whether the network saw a domain in training, itself or in part; ``names`` are its title and its data set.

    The authors' files do not name their sources.
    """
    if sources is None:
        return "not known"
    return "seen" if any(related(*pair) for pair in product(names, sources)) else "unseen"


def facts(pairs: Pairs) -> dict[str, Any]:
    """What a run keeps about the images of a split."""
    return {"images": len(pairs), "hash": fingerprint(pairs), "layout": pairs.layout, "split_by": pairs.split_by}


def count(pairs: Pairs) -> str:
    """The number of images, and the expected number if it differs."""
    differs = pairs.expected not in (None, len(pairs))
    return counted(len(pairs), "image") + (f" ({pairs.expected:,} expected)" if differs else "")


def whereabouts(pairs: Pairs) -> list[str]:
    """A line with layout, folder, what divided the images into splits, and their hash; then the notes."""
    place = f"            {pairs.layout} in {pairs.home}, split by {pairs.split_by}, {fingerprint(pairs)}"
    return [place, *(f"note: {note}" for note in pairs.notes)]


def joined(lines: Iterable[str]) -> str:
    """The lines as text, each note once and at the end."""
    lines = list(lines)
    notes = dict.fromkeys(line for line in lines if line.startswith("note: "))
    return "\n".join([*(line for line in lines if line not in notes), *notes])


def report(sets: Iterable[tuple[str, Pairs]]) -> str:
    """Lines about each data set by its name, then the notes."""
    return joined(line for name, pairs in sets for line in (f"{name}: {count(pairs)}", *whereabouts(pairs)))


Sets = Sequence[tuple[DatasetSpec, str, Sequence[Sample]]]  # data sets, each with the name of a split and its images


def check_images(sets: Sets, data: DataOptions, *, skip_bad: int = 0) -> None:
    """UsageError if images or labels would spoil the scores; the first process checks a sample of the files."""
    from utils.distributed import from_first  # loads torch

    if fault := from_first(first_fault(sets, data, skip_bad=skip_bad) if rank() == 0 else ""):
        raise UsageError(fault)


def first_fault(sets: Sets, data: DataOptions, *, skip_bad: int) -> str:
    """A line about the first fault in a sample of files that would spoil a run, or ''.  Notes on classes are logged."""
    findings = check_sources(sets)
    for finding in findings:
        if finding.code == "unused_class":
            log.info(f"note: {finding.dataset} {finding.split}: {finding.file} {finding.message}: {finding.fix}")
    errors = [finding for finding in findings if finding.severity == ERROR]
    replaced = [finding for finding in errors if finding.split == "train" and finding.code in REFUSED]  # one pair each
    if len(replaced) <= skip_bad:
        errors = [finding for finding in errors if finding not in replaced]
    if not errors:
        return ""
    first, names = errors[0], dict.fromkeys(dataset.asked_as for dataset, _, _ in sets)
    lists = ["--split_file", *data.split_files] if data.split_files else []
    command = shlex.join(["python", "-m", "datasets.check", str(data.root), "--dataset", *names, *lists])
    return (
        f"{first.file}: {first.message}: {first.fix} (errors in a sample of the files: {len(errors):,}; list all with "
        f"`{command}`, or go on without this check: --no_check)"
    )
