"""The data sets of a folder: it holds several, or it is one of them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from datasets import packed
from datasets.check.findings import Finding
from datasets.disk.layouts import folders_named, visible_names
from datasets.own.custom import custom_spec, is_custom
from datasets.registry import SPECS, DatasetSpec, spec, titles
from utils.errors import UsageError


def recognise(
    root: Path, names: Sequence[str], split_files: Sequence[Path | str], gtav_labels: str
) -> tuple[Path, list[DatasetSpec]]:
    """The data root and the data sets of a folder (an absolute path), all or those with these names.

    The root is the folder, or the one around it if it is a data set itself.  UsageError if there are no data sets.
    """
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
