"""From flags to data sets, and what is told and kept about the images that were found.  Imports no torch."""

import hashlib
import shlex
from argparse import Namespace
from collections.abc import Iterable, Sequence
from typing import Any

from datasets.check import check_sources
from datasets.check.findings import ERROR
from datasets.disk.layouts import Pairs, some
from datasets.images import LabelledImages
from datasets.labels import STANDARD, ClassSet
from datasets.own.custom import is_among
from datasets.own.own_classes import FILE
from datasets.registry import DatasetSpec, Sample, spec, titles
from engine.options.data_flags import BOOSTED
from utils.errors import UsageError

REPLACED = {  # what can be wrong with single files, which --skip_bad replaces
    "empty_file", "lfs_pointer", "html_page", "dangling_link", "truncated", "unreadable", "broken_polygons",
    "size_mismatch", "image_depth", "label_8_bit", "label_mode", "colour_label", "unknown_ids",
}  # fmt: skip


def data_set(args: Namespace, name: str) -> DatasetSpec:
    """The data set of that name, read and divided as the flags say."""
    options = {"gtav_labels": args.gtav_labels, "split_files": args.split_file or ()}
    trained = getattr(args, "trained_on", args.dataset)  # in evaluation that is what the snapshot tells
    return spec(name, **options, title=titles(every_name(args)).get(name), divided=is_among(name, trained))


def every_name(args: Namespace) -> list[str]:
    """The data sets that the flags name, the sources first."""
    lists = (getattr(args, name, None) for name in ("dataset", "val_dataset", "covstat_val_dataset"))
    return [name for names in lists for name in names or ()]


def shared_classes(names: Iterable[str]) -> ClassSet:
    """The classes of all these data sets; UsageError that names two which differ."""
    first: DatasetSpec | None = None
    for row in map(spec, names):
        first = first or row
        if row.classes.names != first.classes.names:
            raise UsageError(
                f"{row.asked_as} has {told(row.classes)}, but {first.asked_as} has {told(first.classes)}: data sets of "
                f"one run share their classes: map labels to them by ids, colours or names in {FILE}, or leave one out"
            )
    return first.classes if first else STANDARD


def told(classes: ClassSet) -> str:
    if classes.names == STANDARD.names:
        return f"the {len(classes)} classes of Cityscapes"
    return f"{len(classes)} classes of its own ({some(classes.names, 5)})"


def classes_of(args: Namespace) -> ClassSet:
    """The classes of a training run."""
    return shared_classes([*args.dataset, *args.val_dataset])


def fingerprint(samples: Sequence[Sample]) -> str:
    """A short hash of the names of the images that were used."""
    return hashlib.sha256("\n".join(sample.name for sample in samples).encode()).hexdigest()[:16]


def labelled_images(args: Namespace, name: str, split: str, limit: int) -> LabelledImages:
    return LabelledImages(data_set(args, name), args.data_root, split, limit=limit)


def validation_sets(args: Namespace) -> tuple[list[LabelledImages], list[LabelledImages]]:
    """Held-out images of the sources, by which the best checkpoint is chosen, and images of the unseen domains."""

    def images(names: list[str]) -> list[LabelledImages]:
        return [labelled_images(args, name, "val", args.val_images) for name in dict.fromkeys(names)]

    return images(args.dataset), images([name for name in args.val_dataset if name not in args.dataset])


def scoring_crop(args: Namespace, images: LabelledImages) -> int:
    """The side of the square on which the images are scored; 0 where they are scored as stored."""
    return args.mapillary_crop if images.spec.scored_square else 0


def facts(pairs: Pairs) -> dict[str, Any]:
    """What is kept about the images of a split."""
    return {"images": len(pairs), "hash": fingerprint(pairs), "layout": pairs.layout, "split_by": pairs.split_by}


def count(pairs: Pairs) -> str:
    """How many images there are, and how many were expected if that differs."""
    other = pairs.expected not in (None, len(pairs))
    return f"{len(pairs):,} images" + (f" ({pairs.expected:,} expected)" if other else "")


def found_how(pairs: Pairs) -> str:
    """Where the images are, in which layout, and by what they were divided, with their hash."""
    return f"{pairs.layout} in {pairs.home}, split by {pairs.split_by}, {fingerprint(pairs)}"


def report(sets: Sequence[tuple[str, Pairs]]) -> str:
    """Name by name what was found, then what the user should know about it, each line once."""
    lines = [f"{name}: {count(pairs)}, {found_how(pairs)}" for name, pairs in sets]
    return "\n".join(dict.fromkeys([*lines, *(note for _, pairs in sets for note in notes(pairs))]))


def coarse_pairs(args: Namespace) -> Pairs:
    """The coarsely labelled images of Cityscapes."""
    try:
        return data_set(args, BOOSTED).pairs(args.data_root, "train_extra")
    except UsageError as error:
        what, _, _ = str(error).rpartition(": ")  # the remedy would be to draw a stand-in, which has none of these
        raise UsageError(
            f"--coarse_boost_classes: {what}: unpack leftImg8bit_trainextra.zip and gtCoarse.zip of Cityscapes there, "
            "or drop the flag"
        ) from error


def notes(pairs: Pairs) -> list[str]:
    return [f"note: {note}" for note in pairs.notes]


def fault(args: Namespace, sets: Sequence[tuple[DatasetSpec, str, Sequence[Sample]]]) -> str:
    """A line about what would spoil a run with these splits, as a sample of their files shows; '' if nothing would."""
    errors = [finding for finding in check_sources(sets) if finding.severity == ERROR]
    replaced = [finding for finding in errors if finding.split == "train" and finding.code in REPLACED]
    if len(replaced) <= args.skip_bad:
        errors = [finding for finding in errors if finding not in replaced]
    if not errors:
        return ""
    beyond = f", more than --skip_bad {args.skip_bad} allows" if args.skip_bad and errors[0] in replaced else ""
    first, names = errors[0], dict.fromkeys(row.asked_as for row, _, _ in sets)
    command = ["python", "-m", "datasets.check", str(args.data_root), "--dataset", *names]
    command += ["--split_file", *args.split_file] if args.split_file else []
    return (
        f"{first.file}: {first.message}: {first.fix} (errors in a sample of the files: {len(errors):,}{beyond}; "
        f"see all by `{shlex.join(command)}`, or train all the same with --no_check)"
    )
