"""The data sets of a folder: it holds several, or it is one of them, known by its name or its content."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from datasets.check.findings import Finding
from datasets.disk.layouts import Part, folders_named
from datasets.own.custom import CustomSpec, custom_spec, folder_of, is_custom
from datasets.registry import SPECS, DatasetSpec, spec, titles
from utils.errors import UsageError

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".rar", ".7z", ".gz")


class Target(NamedTuple):
    """A data set below a data root."""

    dataset: DatasetSpec
    root: Path

    @property
    def homes(self) -> list[Path]:
        """The folders of the data set."""
        own = isinstance(self.dataset, CustomSpec)
        return [self.dataset.path] if own else folders_named(self.root, self.dataset.folders)

    def places(self, split: str) -> list[Part]:
        """The folders in each layout that has this split, with or without images."""
        layouts = [layout for layout in self.dataset.layouts if split in layout.splits]
        return [Part(home, layout) for home in self.homes for layout in layouts]


def recognise(root: Path, names: Sequence[str], split_files: Sequence[Path | str], gtav_labels: str) -> list[Target]:
    """The data sets of a folder (an absolute path), all or those with these names; UsageError if there are none."""
    own = [Target(custom_spec(name, title=title), folder_of(name)) for name, title in titles(names).items()]
    names = [name for name in names if not is_custom(name)]
    if own and not names:
        return own
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder; name the folder of the data sets, or the folder of one of them")
    datasets = [spec(name, gtav_labels=gtav_labels, split_files=split_files) for name in names or SPECS]
    present = [dataset for dataset in datasets if folders_named(root, dataset.folders)]
    if not present:
        itself = names[0] if len(names) == 1 else by_name(root) or by_content(root)
        for dataset in datasets:
            if dataset.name == itself:
                return [Target(replace(dataset, folders=(root.name,)), root.parent), *own]
    for dataset in datasets if names else []:
        if dataset not in present:
            raise UsageError(
                f"{root}: no folder {' or '.join(dataset.folders)}, where {dataset.name} is expected: put the data "
                "there, or name other data sets or another folder"
            )
    if not present:
        folders = ", ".join(dataset.folders[0] for dataset in datasets)
        archives = archives_in(root)
        remedy = f"unzip {archives[0].name}" if archives else f"give a folder that holds one of {folders}"
        raise UsageError(f"{root}: no data set recognised: {remedy}, or name the data set with --dataset")
    return [*(Target(dataset, root) for dataset in present), *own]


def by_name(folder: Path) -> str | None:
    """The data set whose name a folder has, in any spelling."""
    known = {name.lower(): dataset.name for dataset in SPECS.values() for name in dataset.folders}
    return known.get(folder.name.lower())


def by_content(folder: Path) -> str | None:
    """The data set whose images and labels lie in a folder; None if several fit equally well."""
    fits = sorted((form, dataset.name) for dataset in SPECS.values() for form in label_forms(folder, dataset))
    best = {name for form, name in fits if form == fits[0][0]}
    return best.pop() if len(best) == 1 else None


def label_forms(folder: Path, dataset: DatasetSpec) -> Iterator[int]:
    """The forms of the data set's labels that a folder holds, with its images; 0 is the preferred form."""
    for layout in dataset.layouts:
        for split in layout.splits:
            if first := Part(folder, layout).first(split):
                name, image = first[0], first[1].relative_to(folder).as_posix()
                for form, rule in enumerate(layout.labels):
                    if (folder / rule.of(name).label(image)).is_file():
                        yield form


def misnamed_folders(root: Path, targets: Sequence[Target]) -> Iterator[Finding]:
    """Folders of the root that hold a data set under another name."""
    if any(target.root != root for target in targets):
        return
    known = {home for target in targets for home in target.homes}
    for folder in sorted(root.iterdir()):
        if folder.is_dir() and folder not in known and not by_name(folder) and (name := by_content(folder)):
            yield Finding.of("misnamed_folder", folder, dataset=name, wanted=SPECS[name].folders[0])


def archives_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.lower().endswith(ARCHIVES) and path.is_file())
