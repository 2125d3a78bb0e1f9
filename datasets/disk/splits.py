"""Which images belong to a split, where folders do not say it: lists of file names, GTAV's ``split.mat``, or a rule."""

import hashlib
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datasets.disk.layouts import Sample, some
from datasets.disk.matlab import read_arrays
from utils.errors import UsageError

FEW = 0.05  # share of the files that may lack their partner
_LIST = re.compile(r"(?P<name>[a-z0-9]+)_(?:split_)?(?P<split>train|val|valid|test)\.txt", re.IGNORECASE)
_MATLAB = {"train": "trainIds", "val": "valIds", "test": "testIds"}
_MATLAB_PLACES = ("split.mat", "read_mapping/split.mat", "read_mapping.zip")


class Division(NamedTuple):
    """The images of a split, what chose them, and what the user should know about that."""

    samples: list[Sample]
    told: str
    notes: tuple[str, ...] = ()


def find_lists(paths: Sequence[Path | str]) -> dict[str, dict[str, Path]]:
    """The lists among files and folders by data set and split: ``gtav_split_train.txt`` or ``gtav_train.txt``."""
    lists: dict[str, dict[str, Path]] = {}
    for path in map(Path, paths):
        if not path.exists():
            raise UsageError(f"--split_file {path}: no such file or folder; name a list, or the folder of the lists")
        found = sorted(file for file in path.glob("*.txt") if _LIST.fullmatch(file.name)) if path.is_dir() else [path]
        if not found:
            raise UsageError(f"--split_file {path}: no list there; expected files like gtav_split_train.txt")
        for file in found:
            told = _LIST.fullmatch(file.name)
            if not told:
                raise UsageError(
                    f"--split_file {file}: data set and split are known by its name; call it e.g. gtav_split_train.txt"
                )
            name, split = told["name"].lower(), told["split"].lower().replace("valid", "val")
            if (before := lists.setdefault(name, {}).setdefault(split, file)) != file:
                raise UsageError(f"--split_file {file}: {before} is a list of {name} {split} already; give one of them")
    return lists


def by_list(name: str, samples: Sequence[Sample], split: str, lists: Mapping[str, Path]) -> Division:
    """The images whose file names a list of the user holds."""
    if split not in lists:
        given = ", ".join(map(str, lists.values()))
        raise UsageError(f"--split_file: {given} given, but no list of {name} {split}; add {name}_split_{split}.txt")
    path, names = lists[split], _lines(lists[split])
    for other, file in lists.items():
        if other != split and (both := sorted(names & _lines(file))):
            raise UsageError(f"--split_file {path}: {some(both, 3)} is also in {file}; an image belongs to one split")
    chosen = [sample for sample in samples if sample.image.name in names]
    if missing := sorted(names - {sample.image.name for sample in chosen}):
        message = f"{path}: {len(missing):,} of the {len(names):,} images of {name} {split} are not there: "
        if len(missing) > FEW * len(names):
            raise UsageError(f"--split_file {message}{some(missing, 3)}; complete the images or give another list")
        return Division(chosen, f"the list {path.name}", (message + some(missing),))
    return Division(chosen, f"the list {path.name}")


def _lines(path: Path) -> frozenset[str]:
    return frozenset(line.rpartition("/")[2] for line in lines_of(path, f"--split_file {path}"))


def lines_of(path: Path, called: str) -> list[str]:
    """The lines of a list, without comments; UsageError, which begins with ``called``, if there are none."""
    try:
        lines = [line.strip().replace("\\", "/") for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{called}: cannot be read ({error}); give a text file") from error
    names = [line for line in lines if line and line[0] != "#"]
    if not names:
        raise UsageError(f"{called}: names no image; give one file name per line")
    return names


def find_matlab(homes: Sequence[Path]) -> Path | None:
    """GTAV's own file of splits, or the archive that holds it."""
    return next((path for home in homes for place in _MATLAB_PLACES if (path := home / place).is_file()), None)


def by_matlab(name: str, samples: Sequence[Sample], split: str, path: Path) -> Division:
    """The images whose numbers the file names for a split."""
    try:
        arrays = read_arrays(_matlab_content(path))
        ids = {key: arrays[variable].ravel().astype(int).tolist() for key, variable in _MATLAB.items()}
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise UsageError(
            f"{path}: cannot be read as the splits of {name} ({error}): fetch it again, or give --split_file"
        ) from error
    if len({number for numbers in ids.values() for number in numbers}) != sum(map(len, ids.values())):
        raise UsageError(f"{path}: names an image twice: fetch it again, or give --split_file")
    names = {f"{number:05d}" for number in ids[split]}
    return Division([sample for sample in samples if sample.image.stem in names], path.name)


def _matlab_content(path: Path) -> bytes:
    if path.suffix != ".zip":
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        inside = [member for member in archive.namelist() if member.rpartition("/")[2] == "split.mat"]
        return archive.read(inside[0]) if inside else b""


def place(name: str, stem: str) -> str:
    """Where our rule puts an image of a data set among the others."""
    return hashlib.sha256(f"304 {name} {stem}".encode()).hexdigest()


def by_rule(
    name: str, samples: Sequence[Sample], split: str, counts: Mapping[str, int], stems: Sequence[str]
) -> Division:
    """Our own splits: all images there are, whose ``stems`` are given, in the order of the SHA-256 of
    ``304 <data set> <stem>``, cut into parts in proportion to ``counts``.

    So it depends on an image's name alone where it belongs, whatever other images are there.
    """
    ends = np.cumsum(list(counts.values()))
    ends = np.rint(ends / ends[-1] * len(stems)).astype(int).tolist()
    places = ["", *sorted(place(name, stem) for stem in stems)]
    index = list(counts).index(split)
    low = places[ends[index - 1]] if index else ""
    high = places[ends[index]] if index < len(ends) - 1 else "g"  # behind every digit
    without = " and no split.mat" if name == "gtav" else ""
    note = (
        f"{name}: no --split_file{without}, so its images are divided by a rule of this project; scores on the val "
        f"split of {name} itself cannot be compared with published ones"
    )
    chosen = [sample for sample in samples if low < place(name, sample.image.stem) <= high]
    return Division(chosen, "our rule, seed 304", (note,))
