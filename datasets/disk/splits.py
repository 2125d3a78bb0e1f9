"""Which images belong to a split, if folders do not say it: lists of file names, GTAV's ``split.mat``, or a rule."""

import hashlib
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datasets.disk.layouts import Sample, composed, some
from utils.errors import UsageError, first_line

FEW = 0.05  # share of the files that may lack their partner
_LIST = re.compile(r"(?P<name>[a-z0-9]+)_(?:split_)?(?P<split>train|val|valid|test)\.txt", re.IGNORECASE)
_VARIABLES = {"train": "trainIds", "val": "valIds", "test": "testIds"}  # of split.mat


class Division(NamedTuple):
    """The images of a split."""

    samples: list[Sample]
    split_by: str  # the list, file or rule that chose them
    notes: tuple[str, ...] = ()  # for the user, a line each


def find_lists(paths: Sequence[Path | str], *, allowed: Sequence[str]) -> dict[str, dict[str, Path]]:
    """The lists among files and folders by data set and split: ``gtav_split_train.txt`` or ``gtav_train.txt``.

    UsageError for other names, and for data sets that are not ``allowed`` to have lists.
    """
    lists: dict[str, dict[str, Path]] = {}
    for path in map(Path, paths):
        files = sorted(path.glob("*.txt")) if path.is_dir() else [path]
        matches = [
            (file, match)
            for file in files
            if file.exists() and not file.is_dir() and (match := _LIST.fullmatch(file.name))
        ]
        if not matches:
            raise UsageError(
                f"--split_file {path}: no list there: give files like gtav_split_train.txt, or their folder"
            )
        for file, match in matches:
            name, split = match["name"].lower(), match["split"].lower().replace("valid", "val")
            if name not in allowed:
                raise UsageError(f"--split_file {file}: lists are for {' and '.join(allowed)}, not for {name}")
            if (before := lists.setdefault(name, {}).setdefault(split, file)) != file:
                raise UsageError(f"--split_file {file}: {before} is a list of {name} {split} already; give one of them")
    return lists


def by_list(name: str, samples: Sequence[Sample], split: str, lists: Mapping[str, Path]) -> Division:
    """The images whose file names stand in a list of the user."""
    if split not in lists:
        given = ", ".join(map(str, lists.values()))
        raise UsageError(f"--split_file: {given} given, but no list of {name} {split}: add {name}_split_{split}.txt")
    known = {sample.image.name: sample.image.name for sample in samples}
    chosen, notes = listed(f"{name} {split}", split, lists, known, lambda line: line.rpartition("/")[2])
    samples = [sample for sample in samples if sample.image.name in chosen]
    return Division(samples, f"the list {lists[split].name}", notes)


def listed(
    title: str, split: str, lists: Mapping[str, Path], known: Mapping[str, str], entry: Callable[[str], str]
) -> tuple[set[str], tuple[str, ...]]:
    """The images in the list of a split, and a note on those that are not there.

    ``entry`` turns a line into a key of ``known``, whose values are the images.  UsageError if more than a few images
    are not there, or if one is also in the list of another split.
    """
    known = {composed(key): image for key, image in known.items()}
    entries = {other: {composed(entry(line)): line for line in _lines_of(path)} for other, path in lists.items()}
    chosen = {known[key] for key in entries[split] if key in known}
    path = lists[split]
    for other, file in lists.items():
        if other != split and (both := sorted(chosen & {known.get(key) for key in entries[other]})):
            raise UsageError(f"{path}: {some(both, 3)} is also in {file}: leave it in one of the lists")
    missing = sorted(line for key, line in entries[split].items() if key not in known)
    message = f"{path}: {len(missing):,} of the {len(entries[split]):,} images of {title} are not there: "
    if len(missing) > FEW * len(entries[split]):
        raise UsageError(f"{message}{some(missing, 3)}: complete the images, or correct these lines")
    return chosen, (message + some(missing),) if missing else ()


def _lines_of(path: Path) -> list[str]:
    """The lines of a list without comments; UsageError if there are none."""
    try:
        lines = [line.strip().replace("\\", "/") for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read ({error}): give a text file in UTF-8") from error
    lines = [line for line in lines if line and line[0] != "#"]
    if not lines:
        raise UsageError(f"{path}: names no image: give one file name per line, or delete it")
    return lines


def by_split_mat(name: str, samples: Sequence[Sample], split: str, path: Path, *, stem: str) -> Division:
    """The images whose numbers, in the form ``stem``, stand in a MATLAB file, or in the archive that holds it."""
    from scipy.io import loadmat  # slow to import, and one data set needs it

    try:
        content = path.read_bytes()
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                content = archive.read(next(name for name in archive.namelist() if Path(name).name == "split.mat"))
        variables = loadmat(BytesIO(content))
        numbers = variables[_VARIABLES[split]].ravel().astype(int).tolist()
    except Exception as error:  # scipy raises many kinds for a broken file
        raise UsageError(f"{path}: unreadable ({first_line(error)}): fetch it again, or give --split_file") from error
    stems = {stem.format(number) for number in numbers}
    return Division([sample for sample in samples if sample.image.stem in stems], path.name)


def place(name: str, stem: str) -> str:
    """The place of an image among the others of a data set, by our rule."""
    return hashlib.sha256(f"304 {name} {stem}".encode(errors="surrogateescape")).hexdigest()


def by_rule(
    name: str, samples: Sequence[Sample], split: str, counts: Mapping[str, int], stems: Sequence[str], *, missing: str
) -> Division:
    """Our own splits: all images of the data set (``stems``) in the order of the SHA-256 of ``304 <data set> <stem>``,
    cut in proportion to ``counts``.

    The split of an image depends on its name alone, whatever other images are there.  ``missing`` names what would
    have divided them.
    """
    ends = np.cumsum(list(counts.values()))
    ends = np.rint(ends / ends[-1] * len(stems)).astype(int).tolist()
    places = ["", *sorted(place(name, stem) for stem in stems)]
    index = list(counts).index(split)
    low = places[ends[index - 1]] if index else ""
    high = places[ends[index]] if index < len(ends) - 1 else "g"  # behind every digit
    note = (
        f"{name}: no {missing}, so its images are divided by a rule of this project; scores on the val "
        f"split of {name} itself cannot be compared with published ones"
    )
    chosen = [sample for sample in samples if low < place(name, sample.image.stem) <= high]
    return Division(chosen, "our rule, seed 304", (note,))
