"""What a folder is: the root of several data sets, or one of them, known by its name or by what lies in it."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from datasets.check.findings import Finding, found
from datasets.disk.layouts import Part, folders_named
from datasets.own.custom import CustomSpec, custom_spec, folder_of, is_custom
from datasets.registry import SPECS, DatasetSpec, spec, titles
from utils.errors import UsageError

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".rar", ".7z", ".gz")
_NOT_AT_ALL = 99


class Target(NamedTuple):
    """A data set below a data root."""

    row: DatasetSpec
    root: Path

    @property
    def homes(self) -> list[Path]:
        return [self.row.path] if isinstance(self.row, CustomSpec) else folders_named(self.root, self.row.folders)


def absolute(path: Path | str) -> Path:
    """A path with the name of its folder at its end, also for ".", and with links as they are."""
    return Path(os.path.abspath(Path(path).expanduser()))


def recognise(
    root: Path, *, names: Sequence[str] = (), split_files: Sequence[Path | str] = (), gtav_labels: str = "ids"
) -> list[Target]:
    """The data sets of a folder (absolute); UsageError if there are none, or not those that are asked for."""
    own = [Target(custom_spec(name, title=title), folder_of(name)) for name, title in titles(names).items()]
    if own and len(own) == len(names):
        return own  # which need no root
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder; name the folder of the data sets, or that of one of them")
    names = [name for name in names if not is_custom(name)]
    rows = [spec(name, gtav_labels=gtav_labels, split_files=split_files) for name in names or SPECS]
    below = [Target(row, root) for row in rows if folders_named(root, row.folders)]
    if below:
        _refuse_missing(root, names, below)
        return [*below, *own]
    name = names[0] if len(names) == 1 else by_name(root) or by_content(root)
    itself = [row for row in rows if row.name == name]
    if not itself:
        raise UsageError(f"{root}: {_unknown(root, names)}")
    return [Target(replace(itself[0], folders=(root.name,)), root.parent), *own]


def _refuse_missing(root: Path, names: Sequence[str], below: Sequence[Target]) -> None:
    there = [target.row.name for target in below]
    if missing := [name for name in names if name not in there]:
        folders = " or ".join(SPECS[missing[0]].folders)
        raise UsageError(f"{root}: no folder {folders}, where {missing[0]} is expected; there are {', '.join(there)}")


def _unknown(root: Path, names: Sequence[str]) -> str:
    """Why nothing was recognised."""
    archives = archives_in(root)
    if archives:
        return f"no data set here, but archives ({archives[0].name}): unzip them first"
    if names:
        return f"neither the folder of {' and '.join(names)} nor one with such folders: name another folder"
    folders = ", ".join(row.folders[0] for row in SPECS.values())
    return f"no data set recognised: give a folder that holds one of {folders}, or name it with --dataset"


def by_name(folder: Path) -> str | None:
    """The data set that a folder is called after."""
    known = {name.lower(): row.name for row in SPECS.values() for name in row.folders}
    return known.get(folder.name.lower())


def by_content(folder: Path) -> str | None:
    """The data set in whose layouts the images and labels of a folder lie, if there is but one."""
    ranks: dict[str, int] = {}
    for row in SPECS.values():
        for layout in row.layouts:
            for split in layout.splits:
                rank = _rank(Part(folder, layout), split)
                ranks[row.name] = min(rank, ranks.get(row.name, rank))
    best = [name for name, rank in ranks.items() if rank == min(ranks.values()) < _NOT_AT_ALL]
    return best[0] if len(best) == 1 else None


def _rank(part: Part, split: str) -> int:
    """How well a layout fits: by its preferred labels (0), by others; or not at all."""
    if (first := part.first(split)) is None:
        return _NOT_AT_ALL
    name, image = first[0], first[1].relative_to(part.home).as_posix()
    there = [(part.home / rule.of(name).label(image)).is_file() for rule in part.layout.labels]
    return there.index(True) if True in there else _NOT_AT_ALL


def misnamed(root: Path, targets: Sequence[Target]) -> list[Finding]:
    """Folders of the root that hold a data set but do not bear its name."""
    used = {home for target in targets for home in target.homes}
    if not all(target.root == root for target in targets):
        return []
    return [
        found(
            "misnamed_folder", folder, f"holds {name}, but is not called so", f"rename it to {SPECS[name].folders[0]}"
        )
        for folder in sorted(root.iterdir())
        if folder.is_dir() and folder not in used and not by_name(folder) and (name := by_content(folder))
    ]


def archives_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.lower().endswith(ARCHIVES) and path.is_file())
