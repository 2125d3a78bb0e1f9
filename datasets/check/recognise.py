"""The data sets of a folder: it holds several, or it is one of them, known by its name or its content."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from datasets.check.findings import Finding
from datasets.disk.layouts import Part, folders_named
from datasets.own.custom import custom_spec, folder_of, is_custom
from datasets.registry import SPECS, DatasetSpec, spec, titles
from utils.errors import UsageError


class Target(NamedTuple):
    """A data set below a data root."""

    dataset: DatasetSpec
    root: Path


def recognise(root: Path, names: Sequence[str], split_files: Sequence[Path | str], gtav_labels: str) -> list[Target]:
    """The data sets of a folder (an absolute path), all or those with these names; UsageError if there are none."""
    own = [Target(custom_spec(name, title=title), folder_of(name)) for name, title in titles(names).items()]
    names = list(dict.fromkeys(name for name in names if not is_custom(name)))
    if own and not names:
        return own
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder; name the folder of the data sets, or the folder of one of them")
    datasets = [spec(name, gtav_labels=gtav_labels, split_files=split_files) for name in names or SPECS]
    present = [dataset for dataset in datasets if folders_named(root, dataset.folders)]
    if not present and not own:
        itself = names[0] if len(names) == 1 else by_name(root) or by_content(root)
        for dataset in datasets:
            if dataset.name == itself:
                return [Target(replace(dataset, folders=(root.name,)), root.parent)]
    missing = [dataset.folders[0] for dataset in datasets if dataset not in present]
    if not present or (names and missing):
        raise UsageError(
            f"{root}: no data set recognised in a folder {' or '.join(missing)}: give the folder that holds them, or "
            "the folder of one data set and its name with --dataset"
        )
    return [*(Target(dataset, root) for dataset in present), *own]


def by_name(folder: Path) -> str | None:
    """The data set whose name a folder has, in any spelling."""
    known = {name.lower(): dataset.name for dataset in SPECS.values() for name in dataset.folders}
    return known.get(folder.name.lower())


def by_content(folder: Path) -> str | None:
    """The data set whose images and labels lie in a folder; None if several fit equally well."""
    fits: dict[int, set[str]] = defaultdict(set)  # form of the labels, 0 is the preferred one -> names
    for dataset in SPECS.values():
        for layout in dataset.layouts:
            for form, label in Part(folder, layout).first_labels():
                if label.is_file():
                    fits[form].add(dataset.name)
    best = fits[min(fits)] if fits else set()
    return best.pop() if len(best) == 1 else None


def misnamed_folders(root: Path) -> Iterator[Finding]:
    """Folders of the root that hold a data set under another name."""
    for folder in sorted(root.iterdir()):
        if folder.is_dir() and not by_name(folder) and (name := by_content(folder)):
            yield Finding.of("misnamed_folder", folder, dataset=name, wanted=SPECS[name].folders[0])
