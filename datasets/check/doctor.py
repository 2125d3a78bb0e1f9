"""The whole check of a folder, and the quick check before a training."""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm

from datasets.check.contents import add_doubles, check_pair, damage, split_faults
from datasets.check.findings import ERROR, Finding
from datasets.check.listing import Split, list_splits
from datasets.check.recognise import Target, archives_in, misnamed_folders, recognise
from datasets.disk.layouts import Sample
from datasets.registry import DatasetSpec
from utils.errors import UsageError

SAMPLED = 32  # pairs of a split that a quick check opens


@dataclass(frozen=True)
class Report:
    """The splits of a folder and all findings, errors first."""

    root: Path
    splits: list[Split]
    findings: list[Finding]

    @property
    def errors(self) -> int:
        return sum(finding.severity == ERROR for finding in self.findings)


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
    """Check a folder of data sets, or of one data set; UsageError if it is neither.

    ``quick`` opens only some pairs of each split; ``workers`` is the number of threads, 0 for Python's choice.
    """
    root = Path(os.path.abspath(Path(root).expanduser()))
    targets = recognise(root, names, split_files, gtav_labels)
    targets = [target for target in targets if split is None or split in target.dataset.splits]
    if not targets:
        raise UsageError(f"--split {split}: no data set in {root} has labels for it; name another split")
    splits = [each for target in targets for each in list_splits(target, split)]
    open_pairs(splits, quick=quick, workers=workers)
    findings = [finding for each in splits for finding in each.findings]
    files = {finding.file for finding in findings}
    for target in targets:
        beside = [finding for finding in leftovers(target) if finding.file not in files]
        findings += [finding._replace(dataset=target.dataset.name) for finding in beside]
    findings += misnamed_folders(root, targets)
    findings.sort(key=lambda finding: finding.severity != ERROR)
    return Report(root, splits, findings)


def check_sources(sets: Iterable[tuple[DatasetSpec, str, Sequence[Sample]]]) -> list[Finding]:
    """A quick check of splits that the loader has listed: data set, name of the split, pairs."""
    splits = {(dataset.name, name): Split(dataset, name, samples) for dataset, name, samples in sets}
    listed = [splits[key] for key in sorted(splits)]
    open_pairs(listed, quick=True, quiet=True)
    return [finding for split in listed for finding in split.findings]


def open_pairs(splits: Sequence[Split], *, quick: bool, workers: int = 0, quiet: bool = False) -> None:
    """Add the faults that the content of images and labels shows: of all pairs, or of a sample (``quick``)."""
    # Threads suffice: nearly all time goes into decoding, in which Pillow lets other threads run.
    with ThreadPoolExecutor(workers or None) as threads:
        for split in splits:
            number = min(len(split.pairs), SAMPLED) if quick else len(split.pairs)
            chosen = [split.pairs[index * len(split.pairs) // number] for index in range(number)]
            checked, where = (
                threads.map(partial(check_pair, split.dataset), chosen),
                f"{split.dataset.name} {split.name}",
            )
            pairs = list(tqdm(checked, desc=where, total=number, unit="pair", disable=quiet or not number))
            for pair in pairs:
                split.add(pair.findings)
            split.add(split_faults(split, pairs))
            split.opened = number
    add_doubles(splits, quick=quick)


def leftovers(target: Target) -> Iterator[Finding]:
    """Archives and hidden files in the folders of a data set."""
    for home in target.homes:
        for archive in archives_in(home):
            if archive.name != "read_mapping.zip":  # GTAV's, from which the loader reads split.mat
                yield damage(archive) or Finding.of("archive", archive)
        hidden = [Path(folder, name) for folder, _, names in os.walk(home) for name in names if name.startswith("._")]
        if hidden:
            yield Finding.of("hidden_files", hidden[0], number=len(hidden))
