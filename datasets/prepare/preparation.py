"""The steps of ``python -m datasets.prepare``."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from datasets import packed
from datasets.own.custom import is_custom, lasting_name
from datasets.prepare.making import POLYGONS, Copy, Mask, lock, produce, write
from datasets.registry import SPECS, DatasetSpec, Sample, check_name, spec
from utils.errors import UsageError
from utils.log import log


def prepare(
    root: Path,
    *,
    names: Sequence[str],
    splits: Sequence[str],
    gtav_labels: str,
    form: str | None,
    out: Path | None,
    workers: int,
) -> None:
    """Make masks, then packed copies in ``form``, which may need the masks.

    UsageError if some could not be made, after all others were made.
    """
    root = root.expanduser()
    names = [_checked(name, root, out) for name in names]
    home = out.expanduser() if out else root
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder: name the folder that holds the data sets")
    if form == "zstd" and not packed.can_zstd():
        raise UsageError("--packed zstd: this Pillow was built without it: install a newer one, or use --packed raw")
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{home}: cannot be made ({error.strerror}): name another folder with --out") from error
    broken: list[str] = []
    with lock(home):
        for dataset in SPECS.values() if not out else ():
            if dataset.polygons and dataset.name in (names or SPECS):
                masks = [Mask(path) for path in sorted(polygon_files(root, dataset))]
                broken += produce(f"masks of {dataset.name}", masks, home, workers)
        datasets = [spec(name, gtav_labels=gtav_labels) for name in names or SPECS] if form else []
        for dataset, samples in samples_of(datasets, root, splits, named=bool(names)):
            source, target = dataset.base(root), dataset.base(home)
            if source != target:
                link(source, target, samples)
            copies = [Copy(source, target, dataset, sample, form) for sample in samples]
            broken += pack(dataset, copies, target, workers)
    if broken:
        raise UsageError(f"{', '.join(broken)}: mend those files, then repeat")


def _checked(name: str, root: Path, out: Path | None) -> str:
    """The name of a data set, with an absolute path if it is an own one."""
    check_name(name)
    if is_custom(name) and out:
        raise UsageError(f"--out {out}: what is made of {name} lies in its own folder; leave --out away")
    return lasting_name(name, root) if is_custom(name) else name


def polygon_files(root: Path, dataset: DatasetSpec) -> Iterator[Path]:
    """The polygon files in the folders of a data set; other data sets have files with the same ending."""
    names = [name.lower() for name in dataset.folders]
    for folder in root.iterdir():
        if folder.name.lower() in names and folder.is_dir():
            yield from folder.rglob(f"*{POLYGONS}")


def samples_of(
    datasets: Sequence[DatasetSpec], root: Path, splits: Sequence[str], *, named: bool
) -> list[tuple[DatasetSpec, list[Sample]]]:
    """The data sets that are there, with the images of all splits; UsageError if none, or a named one, is missing."""
    present, absent = [], []
    for dataset in datasets:
        samples, errors = [], []
        for split in splits:
            try:
                samples += dataset.pairs(root, split)
            except UsageError as error:
                errors.append(error)
        if samples:
            present.append((dataset, samples))
            for error in errors:
                log.info(f"left out: {error}")
        elif named:
            raise errors[0]
        else:
            absent.append(dataset.name)
    if datasets and not present:
        raise UsageError(f"{root}: none of {', '.join(absent)} has images there: see docs/datasets.md")
    if absent:
        log.info(f"not found, or without labels: {', '.join(absent)} (to see why, name one with --datasets)")
    return present


def link(root: Path, home: Path, samples: Sequence[Sample]) -> None:
    """Give ``home`` a link to each folder of ``root`` that holds samples, so that it is a data root too."""
    for name in dict.fromkeys(sample.image.relative_to(root).parts[0] for sample in samples):
        place, folder = home / name, (root / name).resolve()
        if place.resolve() == folder and place.exists():
            continue
        if place.exists() or place.is_symlink():
            raise UsageError(f"{place}: is not {folder}, to which a link is needed there: name another --out")
        place.symlink_to(folder, target_is_directory=True)


def pack(dataset: DatasetSpec, copies: Sequence[Copy], home: Path, workers: int) -> list[str]:
    """Make the copies and enter them into their index, also if making them was interrupted."""
    try:
        return produce(f"copies of {dataset.name}", copies, home, workers)
    finally:
        made = {}
        for copy in copies:
            if copy.is_made():
                facts = packed.facts(copy.root, copy.sample)
                made[facts[0][0]] = facts
        folder = packed.home(home, dataset)
        path, index = folder / packed.INDEX, packed.extended_index(folder, made)
        if made and not (path.exists() and path.read_bytes() == index):
            write(path, index)
