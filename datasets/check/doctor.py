"""The whole check of a folder, and the quick check before a training."""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tqdm import tqdm

from datasets import packed
from datasets.check.contents import add_doubles, check_pair, split_faults
from datasets.check.findings import ERROR, Finding
from datasets.check.listing import Split, list_splits, unread_files
from datasets.disk.layouts import Sample, folders_named, visible_names
from datasets.own.custom import custom_spec, folder_of, is_custom, lasting_name
from datasets.registry import SPECS, DatasetSpec, spec, titles
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
) -> Report:
    """Check a folder of data sets, or of one (or ``custom:PATH``); ``quick`` opens only some pairs of each split."""
    if is_custom(str(root)):
        names = [str(root), *names]
        root = folder_of(lasting_name(names[0], ""))
    root = Path(os.path.abspath(Path(root).expanduser()))
    names = [lasting_name(name, root) if is_custom(name) else name for name in names]
    data_root, datasets = recognise(root, names, split_files, gtav_labels)
    datasets = [dataset for dataset in datasets if split is None or split in dataset.splits]
    if not datasets:
        raise UsageError(f"--split {split}: no data set in {root} has labels for it; name another split")
    splits, findings = [], []
    for dataset in datasets:
        listed = list_splits(dataset, data_root, split)
        splits += listed
        findings += unread_files(dataset, data_root, listed)
    open_pairs(splits, quick=quick)
    if data_root == root and not names:
        findings += unread_folders(root)
    findings = [*(finding for each in splits for finding in each.findings), *findings]
    findings.sort(key=lambda finding: finding.severity != ERROR)
    return Report(root, splits, findings)


def check_sources(sets: Iterable[tuple[DatasetSpec, str, Sequence[Sample]]]) -> list[Finding]:
    """A quick check of splits that the loader has listed: data set, name of the split, pairs."""
    splits = {(dataset.name, name): Split(dataset, name, samples) for dataset, name, samples in sets}
    listed = [splits[key] for key in sorted(splits)]
    open_pairs(listed, quick=True)
    return [finding for split in listed for finding in split.findings]


def open_pairs(splits: Sequence[Split], *, quick: bool) -> None:
    """Add the faults that the content of images and labels shows: of all pairs, or of a sample (``quick``)."""
    # Threads suffice: nearly all time goes into decoding, in which Pillow lets other threads run.
    with ThreadPoolExecutor() as threads:
        for split in splits:
            number = min(len(split.pairs), SAMPLED) if quick else len(split.pairs)
            chosen = [split.pairs[index * len(split.pairs) // number] for index in range(number)]
            checked = threads.map(partial(check_pair, split.dataset), chosen)
            title = f"{split.dataset.name} {split.name}"
            pairs = list(tqdm(checked, desc=title, total=number, unit="pair", disable=None if number else True))
            split.add(finding for pair in pairs for finding in pair.findings)
            split.add(split_faults(split, pairs))
    add_doubles(splits, quick=quick)


def recognise(
    root: Path, names: Sequence[str], split_files: Sequence[Path | str], gtav_labels: str
) -> tuple[Path, list[DatasetSpec]]:
    """The data root, which is the folder or the one around it, and its data sets; UsageError if there are none."""
    own: list[DatasetSpec] = [custom_spec(name, title=title) for name, title in titles(names).items()]
    names = list(dict.fromkeys(name for name in names if not is_custom(name)))
    if own and not names:
        return root, own
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder; name the folder of the data sets, or the folder of one of them")
    datasets = [spec(name, gtav_labels=gtav_labels, split_files=split_files) for name in names or SPECS]
    present = [dataset for dataset in datasets if folders_named(root, dataset.folders)]
    if not present and not own:
        for dataset in datasets:
            if len(names) == 1 or root in folders_named(root.parent, dataset.folders):
                return root.parent, [replace(dataset, folders=(root.name,))]
    missing = [dataset.folders[0] for dataset in datasets if dataset not in present]
    if not present or (names and missing):
        raise UsageError(
            f"{root}: no data set recognised in a folder {' or '.join(missing)}, it has {visible_names(root)}: "
            "rename the folder, or give the folder of one data set and its name with --dataset"
        )
    return root, present + own


def unread_folders(root: Path) -> Iterator[Finding]:
    """Folders of the data root that have no name of a data set."""
    read = {folder for dataset in SPECS.values() for folder in folders_named(root, dataset.folders)}
    for folder in sorted(root.iterdir()):
        if folder.is_dir() and folder not in read and folder.name[0] != "." and folder.name != packed.FOLDER:
            yield Finding.of("unread_folder", folder)
