"""The pairs of a split and the faults that names of files show.  No picture is opened here."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datasets.check.findings import ERROR, NOTE, Finding
from datasets.check.recognise import Target, archives_in
from datasets.disk.layouts import Pairing, Pairs, Part, Sample, visible
from datasets.disk.splits import FEW
from datasets.images import IMAGE_SUFFIXES
from datasets.own.custom import CustomSpec
from datasets.registry import DatasetSpec
from utils.errors import UsageError


@dataclass
class Split:
    """A split of a data set, and its faults."""

    dataset: DatasetSpec
    name: str
    pairs: Sequence[Sample] = field(default_factory=Pairs)
    image_size: tuple[int, int] | None = None  # width and height that all images should have
    opened: int = 0  # pairs
    findings: list[Finding] = field(default_factory=list)

    def add(self, findings: Iterable[Finding]) -> None:
        self.findings += [finding._replace(dataset=self.dataset.name, split=self.name) for finding in findings]


def list_splits(target: Target, name: str | None) -> list[Split]:
    """The split of that name, or all splits; some may then be missing, as users fetch only what they need."""
    if name:
        return [list_split(target, name)]
    splits = [list_split(target, name) for name in target.dataset.splits]
    if not any(split.pairs for split in splits):
        return splits[:1]
    faulty = [split for split in splits if any(finding.code != "no_images" for finding in split.findings)]
    return [split for split in splits if split.pairs or (split in faulty and split.name in ("train", "val"))]


def list_split(target: Target, name: str) -> Split:
    """A split with the pairs that the loader takes, or with the reason why it stops."""
    dataset, demo = target.dataset, demo_note(target)
    split = Split(dataset, name, image_size=tuple(demo["size"][::-1]) if demo else dataset.size)
    try:
        parts = dataset.find(target.root, name)
    except UsageError as error:
        split.add([next(why_missing(target, name, error))])
        return split
    pairing = dataset.pairing(parts, name)
    split.pairs = Pairs(pairing.samples)
    split.add(images_without_label(pairing))
    split.add(Finding.of("orphan_label", label) for label in pairing.orphans)
    split.add(ignored_images(parts, name))
    if any(finding.severity == ERROR for finding in split.findings):
        return split
    try:
        division = dataset.divide(pairing.samples, parts, name)
    except UsageError as error:
        file = str(error).removeprefix("--split_file ").partition(": ")[0]
        split.add([Finding.of("split_source", file, error=error)])
        return split
    split.pairs = Pairs(division.samples, split_by=division.split_by)
    try:
        split.pairs = dataset.pairs(target.root, name)
    except UsageError as error:
        if not division.samples:
            split.add([Finding.of("no_images", parts[0].home, error=error)])
        return split  # if many images differ in size from their labels, a finding for each pair follows
    # The first notes are about images and labels without a partner, which have their own findings.
    add_notes(split, split.pairs.notes[bool(pairing.bare) + bool(pairing.orphans) :], demo)
    return split


def add_notes(split: Split, notes: Sequence[str], demo: dict) -> None:
    """Add the loader's notes, and compare the number of images with the expected one."""
    pairs = split.pairs
    split.add(Finding.of("loader", pairs.home, note=note.removeprefix(f"{split.dataset.name}: ")) for note in notes)
    if demo:
        pairs.expected = None if "rule" in pairs.split_by else demo.get(split.name)
    if pairs.expected not in (None, len(pairs)):
        facts = {"images": len(pairs), "split": split.name, "expected": pairs.expected}
        split.add([Finding.of("count", pairs.home, **facts)])


def demo_note(target: Target) -> dict:
    """The note of a demo folder on its own content; {} for real data."""
    try:
        return json.loads((target.homes[0] / "demo.json").read_text())
    except (OSError, ValueError):
        return {}


def images_without_label(pairing: Pairing) -> Iterator[Finding]:
    """Images without label; the loader leaves out a few and stops at many."""
    total = len(pairing.samples) + len(pairing.bare)
    severity = ERROR if len(pairing.bare) > FEW * total else NOTE
    for sample in pairing.bare:
        stem = sample.image.stem.removesuffix("_leftImg8bit").removesuffix("_rgb_anon")
        others = sorted(path.name for path in sample.label.parent.glob(f"{stem}[_.]*"))
        if others:
            facts = {"label": sample.label.name, "others": ", ".join(others[:3])}
            yield Finding.of("other_labels", sample.image, severity=severity, **facts)
        else:
            yield Finding.of("missing_label", sample.image, severity=severity, label=sample.label)


def ignored_images(parts: Sequence[Part], split: str) -> Iterator[Finding]:
    """Image files beside the images whose names the layout does not know, such as 00001.PNG."""
    images = {image for part in parts for image in part.images(split)[1]}
    for folder in sorted({image.parent for image in images}):
        for path in sorted(folder.iterdir()):
            if path not in images and path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != ".":
                yield Finding.of("ignored_image", path)


def why_missing(target: Target, split: str, error: UsageError) -> Iterator[Finding]:
    """The reasons for the loader's error, the most likely one first."""
    if isinstance(target.dataset, CustomSpec):
        yield Finding.of("split_source", str(error).partition(": ")[0], error=error)
    for part in target.places(split):
        if part.layout.refused and part.first(split):
            yield Finding.of("refused_labels", part.home, error=error)
    yield from other_names(target, split)
    yield from deeper_images(target, split)
    for home in target.homes:
        if target.dataset.name == "bdd100k" and (folder := home / "images" / "100k").is_dir():
            yield Finding.of("bdd_100k", folder)
        for archive in archives_in(home):
            yield Finding.of("not_unzipped", archive, split=split, home=home)
        patterns = dict.fromkeys(layout.pattern(split) for _, layout in target.places(split))
        yield Finding.of("no_images", home, split=split, reason=f"expected {' or '.join(patterns)}")


def other_names(target: Target, split: str) -> Iterator[Finding]:
    """Folders with a similar name, such as ``validation`` for ``val``; then images of another format."""
    for home, layout in target.places(split):
        before, is_folder, _ = layout.images.partition("{split}")
        wanted = layout.splits[split][0]
        for folder in sorted(home.glob(f"{before}*")) if is_folder else ():
            similar = folder.name[:3].lower() == wanted[:3] and folder.name not in (
                *layout.splits[split],
                "train_extra",
            )
            if similar and folder.is_dir():
                yield Finding.of("split_name", folder, wanted=wanted)
    for home, layout in target.places(split):
        for name in layout.splits[split]:
            stem, _, suffix = layout.images.format(split=name).rpartition(".")
            for image in sorted(visible(home.glob(f"{stem}.*"))):
                if image.suffix.lower() in IMAGE_SUFFIXES:
                    yield Finding.of("wrong_format", image, dataset=target.dataset.name, suffix=suffix)


def deeper_images(target: Target, split: str) -> Iterator[Finding]:
    """Folders of an archive that was unzipped one to three folders too deep."""
    for home in target.homes:
        deeper = (folder for depth in ("*", "*/*", "*/*/*") for folder in sorted(visible(home.glob(depth))))
        for folder in filter(Path.is_dir, deeper):
            for _, layout in target.places(split):
                if first := Part(folder, layout).first(split):
                    image, below = first[1].relative_to(home), folder.relative_to(home)
                    yield Finding.of("nested_folder", home, image=image, folder=below)
