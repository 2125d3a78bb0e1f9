"""The whole check of a folder, and the quick one that comes before a training."""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

from tqdm import tqdm

from datasets.check import many
from datasets.check.files import Facts, look
from datasets.check.findings import ERROR, Finding
from datasets.check.listing import Split, list_split, lying_about
from datasets.check.recognise import Target, absolute, misnamed, recognise
from datasets.disk.layouts import Sample
from datasets.registry import DatasetSpec
from utils.errors import UsageError

SAMPLED = 32  # pairs of a split that a quick check opens
Task = tuple[int, Sample]  # which data set, which pair
Map = Callable[[Callable[[Task], Facts], Sequence[Task]], Iterable[Facts]]


@dataclass(frozen=True)
class Report:
    """What was found below a folder."""

    root: Path
    splits: tuple[Split, ...]
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == ERROR)


def check(
    root: Path | str,
    *,
    names: Sequence[str] = (),
    split: str | None = None,
    split_files: Sequence[Path | str] = (),
    gtav_labels: str = "ids",
    quick: bool = False,
    workers: int = 0,
) -> Report:
    """Check a folder of data sets, or one of them; UsageError if it is none.

    ``quick`` opens some pairs of each split only, ``workers`` are processes, 0 one per core.
    """
    root = absolute(root)
    targets = recognise(root, names=names, split_files=split_files, gtav_labels=gtav_labels)
    targets = [target for target in targets if split is None or split in target.row.splits]
    if not targets:
        raise UsageError(f"--split {split}: no data set in {root} has labels of it; name another split")
    splits = [found for target in targets for found in list_splits(target, split)]
    with mapping(threads=quick, workers=workers) as work:
        open_pairs(splits, work, SAMPLED if quick else 0)
    for each, finding in many.doubles(splits, key=many.name_of if quick else many.size_of):
        each.add([finding])
    told = [finding for each in splits for finding in each.findings]
    beside = [finding.of(target.row.name) for target in targets for finding in lying_about(target)]
    told += [finding for finding in beside if finding.file not in {other.file for other in told}]
    told += misnamed(root, targets)
    return Report(root, tuple(splits), tuple(sorted(told, key=lambda finding: finding.severity != ERROR)))


def list_splits(target: Target, asked: str | None) -> Iterator[Split]:
    """The splits of a data set; what nobody asked for may be missing as long as another split is there."""
    if asked:
        yield list_split(target, asked)
        return
    listed = [list_split(target, name) for name in target.row.splits]
    there = [split for split in listed if split.samples]
    for split in listed if there else listed[:1]:
        named = [finding for finding in split.findings if finding.code != "no_images"]
        if split.samples or not there or (named and split.name in ("train", "val")):
            yield split


def check_sources(sets: Iterable[tuple[DatasetSpec, str, Sequence[Sample]]]) -> list[Finding]:
    """A quick check of splits that are found already."""
    splits = {(row.name, name): Split(row, name, samples) for row, name, samples in sets}
    listed = [splits[key] for key in sorted(splits)]
    with mapping(threads=True) as work:
        open_pairs(listed, work, SAMPLED, quiet=True)
    for split, finding in many.doubles(listed, key=many.name_of):
        split.add([finding])
    return [finding for split in listed for finding in split.findings]


def open_pairs(splits: Sequence[Split], work: Map, most: int, *, quiet: bool = False) -> None:
    """Probe the pairs of all splits, or ``most`` of each, evenly spaced, if that is above 0."""
    tasks = [(number, sample) for number, split in enumerate(splits) for sample in sampled(split.samples, most)]
    probe = partial(look_at, [split.row for split in splits])
    progress = tqdm(work(probe, tasks), "checking", total=len(tasks), unit="pair", disable=quiet or not tasks)
    for number, group in groupby(zip(tasks, progress, strict=True), key=lambda pair: pair[0][0]):
        split, facts = splits[number], [facts for _, facts in group]
        split.checked = len(facts)
        split.add([finding for fact in facts for finding in fact.findings])
        for probe_many in many.PROBES:
            split.add(probe_many(split, facts))


def sampled(samples: Sequence[Sample], most: int) -> Sequence[Sample]:
    if not 0 < most < len(samples):
        return samples
    return [samples[index * len(samples) // most] for index in range(most)]


def look_at(rows: Sequence[DatasetSpec], task: Task) -> Facts:
    number, sample = task
    return look(rows[number], sample)


@contextmanager
def mapping(*, threads: bool, workers: int = 0) -> Iterator[Map]:
    """What does the work, in order: threads, which start at once, or processes, which share nothing."""
    workers = workers or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    if threads:
        with ThreadPoolExecutor(min(8, workers)) as pool:
            yield pool.map
    elif workers == 1:
        yield map
    else:
        # Fresh processes: a fork of a process that has used torch may hang.
        with multiprocessing.get_context("spawn").Pool(workers) as processes:
            yield partial(processes.imap, chunksize=8)
