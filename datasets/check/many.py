"""The probes of a split: what only many files together show."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path

import numpy as np

from datasets.check.files import Facts
from datasets.check.findings import ERROR, NOTE, Finding, found
from datasets.check.listing import Split
from datasets.disk.splits import FEW
from datasets.labels import CLASSES, IGNORE, STANDARD

_AS_DOWNLOADED = "put back the labels as they were downloaded"


def void(split: Split, facts: Sequence[Facts]) -> Iterator[Finding]:
    """Labels of which nothing is used; a few are natural."""
    bare = [fact for fact in facts if fact.classes == () and not _told(fact)]
    for fact in bare:
        yield _of_many("void_label", fact, bare, facts, "holds no class that is used")


def one_class(split: Split, facts: Sequence[Facts]) -> Iterator[Finding]:
    """Labels of one id throughout; a few are natural."""
    plain = [fact for fact in facts if fact.ids and len(fact.ids) == 1 and fact.classes]
    for fact in plain:
        yield _of_many("one_class", fact, plain, facts, f"is {split.row.classes.names[fact.classes[0]]} everywhere")


def _of_many(code: str, fact: Facts, alike: Sequence, facts: Sequence, message: str) -> Finding:
    many = len(alike) > FEW * len(facts)
    fix = _AS_DOWNLOADED if many else "look at it; a few such labels are natural"
    return found(code, fact.sample.label, message, fix, severity=ERROR if many else NOTE)


def _told(fact: Facts) -> bool:
    """Whether the file itself has been found wrong already."""
    return any(finding.severity == ERROR for finding in fact.findings)


def train_ids(split: Split, facts: Sequence[Facts]) -> Iterator[Finding]:
    """Train ids alone where the data set's own ids are read, most of which are higher."""
    if split.row.classes is not STANDARD:
        return
    read = [fact for fact in facts if fact.ids and not _told(fact) and _higher(split.row.table_of(fact.sample.label))]
    low = [fact for fact in read if len(fact.ids) > 1 and max(set(fact.ids) - {IGNORE}) < len(CLASSES)]
    sure = low if len(low) == len(read) > 2 else [fact for fact in low if IGNORE in fact.ids]
    for fact in sure:
        message = f"holds train ids ({', '.join(map(str, fact.ids[:8]))}), where {split.row.name} has its own ids"
        yield found("train_ids", fact.sample.label, message, _AS_DOWNLOADED)


def _higher(table: np.ndarray) -> bool:
    """Whether the classes that are almost everywhere have ids above all train ids."""
    own = [np.flatnonzero(table == CLASSES.index(name)) for name in ("vegetation", "sky")]
    return all(len(ids) and ids.min() >= len(CLASSES) for ids in own)


def other_size(split: Split, facts: Sequence[Facts]) -> Iterator[Finding]:
    for fact in facts if split.size else []:
        if fact.size and fact.size != split.size:
            (width, height), (wide, high) = fact.size, split.size
            message = f"is {width}x{height}; the images of {split.row.name} are {wide}x{high}"
            yield found("other_size", fact.sample.image, message, "use the images as downloaded for comparable scores")


def doubles(splits: Sequence[Split], *, key: Callable[[Path], object]) -> Iterator[tuple[Split, Finding]]:
    """Pictures in two splits of a data set; only files with equal ``key`` (size, name) are compared byte by byte."""
    by_key = [_by_key(split, key) for split in splits]
    for (one, first), (two, second) in combinations(zip(splits, by_key, strict=True), 2):
        if one.row.name != two.row.name:
            continue
        shared = first.keys() & second.keys()
        before = dict(_hashes([path for each in shared for path in first[each]]))
        for digest, path in _hashes([path for each in shared for path in second[each]]):
            if (other := before.get(digest)) not in (None, path):
                message = f"is the same picture as {other} of {one.name}"
                yield two, found("double", path, message, "take it out of one of the splits, or unzip both again")


def _by_key(split: Split, key: Callable[[Path], object]) -> dict[object, list[Path]]:
    """The images of a split by their key; files that are not there, and empty ones, have none."""
    groups: dict[object, list[Path]] = defaultdict(list)
    for sample in split.samples:
        if (of := key(sample.image)) is not None:
            groups[of].append(sample.image)
    return groups


def size_of(path: Path) -> int | None:
    try:
        return path.stat().st_size or None
    except OSError:
        return None


def name_of(path: Path) -> str:
    return path.name


def _hashes(paths: Sequence[Path]) -> list[tuple[bytes, Path]]:
    """The files that can be read, with the hash of their contents."""
    with ThreadPoolExecutor(4) as threads:
        return [(digest, path) for digest, path in zip(threads.map(_hash, paths), paths, strict=True) if digest]


def _hash(path: Path) -> bytes:
    try:
        return hashlib.blake2b(path.read_bytes()).digest()
    except OSError:
        return b""


PROBES = (void, one_class, train_ids, other_size)
