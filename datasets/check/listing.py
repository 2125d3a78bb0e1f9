"""What the names of files tell: splits, numbers, pairs, what lies about.  No picture is opened here."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datasets.check.findings import ERROR, NOTE, Finding, found, told_by_loader
from datasets.check.heads import damage
from datasets.check.missing import why_missing
from datasets.check.recognise import Target, archives_in
from datasets.disk.layouts import Pairing, Pairs, Part, Sample
from datasets.disk.splits import FEW
from datasets.images import IMAGE_SUFFIXES
from datasets.registry import DatasetSpec
from utils.errors import UsageError


@dataclass
class Split:
    """A split of a data set and what was found of it."""

    row: DatasetSpec
    name: str
    samples: Sequence[Sample] = ()
    layout: str = ""
    split_by: str = ""
    expected: int | None = None
    size: tuple[int, int] | None = None  # width and height that all images should have
    checked: int = 0  # how many pairs were opened
    findings: list[Finding] = field(default_factory=list)

    def add(self, findings: Iterator[Finding] | Sequence[Finding]) -> None:
        self.findings += [finding.of(self.row.name, self.name) for finding in findings]


def list_split(target: Target, split: str) -> Split:
    """The pairs of a split, with all that their names tell."""
    row = target.row
    demo = demo_of(target)
    state = Split(row, split, size=tuple(demo["size"][::-1]) if demo else row.size)
    try:
        parts = row.find(target.root, split)
    except UsageError as error:
        state.add([why_missing(target, split, error)])
        return state
    pairing = row.pairing(parts, split)
    state.samples, state.layout = pairing.samples, " and ".join(dict.fromkeys(part.layout.name for part in parts))
    unpaired = [*without_label(pairing)]
    state.add([*unpaired, *without_image(pairing), *ignored(parts, split)])
    if all(finding.severity == NOTE for finding in unpaired):
        _divide(state, target, parts, pairing)
    return state


def _divide(state: Split, target: Target, parts: list[Part], pairing: Pairing) -> None:
    """Leave the pairs that the loader takes."""
    try:
        division = state.row.divide(pairing.samples, parts, state.name)
    except UsageError as error:
        file = str(error).removeprefix("--split_file ").partition(": ")[0]
        state.add([told_by_loader("split_source", file, error)])
        return
    state.samples, state.split_by = division.samples, division.split_by
    if not division.samples:
        fix = "complete the images or divide them in another way"
        state.add([found("no_images", parts[0].home, f"{division.split_by} leaves no image of {state.name}", fix)])
        return
    try:
        pairs = state.row.pairs(target.root, state.name)
    except UsageError:  # many differ in size from their labels, which is told pair by pair
        return
    _take(state, target, pairs)


def _take(state: Split, target: Target, pairs: Pairs) -> None:
    """Keep what the loader found, with its notes."""
    demo = demo_of(target)
    state.samples, state.expected = pairs, pairs.expected
    if demo:
        state.expected = None if "rule" in pairs.split_by else demo.get(state.name)
    told = [note for note in pairs.notes if "have no label" not in note and "have no image" not in note]
    state.add([found("loader", pairs.home, note.removeprefix(f"{state.row.name}: "), _ADVICE) for note in told])
    state.add(count(pairs.home, len(pairs), state.expected))


_ADVICE = "nothing to do if that is meant; docs/datasets.md tells more"


def demo_of(target: Target) -> dict:
    """What a demo folder should hold, as its note tells; {} for real data."""
    try:
        return json.loads((target.homes[0] / "demo.json").read_text())
    except (OSError, ValueError):
        return {}


def count(home: str, images: int, expected: int | None) -> Iterator[Finding]:
    if expected not in (None, images):
        message = f"{images:,} images where {expected:,} are expected"
        yield found("count", home, message, "complete them, else scores cannot be compared with others' on all of them")


def without_label(pairing: Pairing) -> Iterator[Finding]:
    """Images without label, which the loader leaves out if they are few."""
    total = len(pairing.samples) + len(pairing.bare)
    severity = ERROR if len(pairing.bare) > FEW * total else NOTE
    for sample in pairing.bare:
        others = _other_labels(sample)
        if others:
            message = f"has no label {sample.label.name}, but {', '.join(others[:3])}, which are of another kind"
            fix = f"fetch or make {sample.label.name}; docs/datasets.md tells how"
        else:
            message, fix = f"has no label {sample.label}", "unzip the labels again, or take the image away"
        yield found("other_labels" if others else "missing_label", sample.image, message, fix, severity=severity)


def _other_labels(sample: Sample) -> list[str]:
    """Files beside the place of the label that belong to the image too."""
    stem = sample.image.stem.removesuffix("_leftImg8bit").removesuffix("_rgb_anon")
    folder = sample.label.parent
    return sorted(path.name for path in folder.glob(f"{stem}[_.]*")) if folder.is_dir() else []


def without_image(pairing: Pairing) -> Iterator[Finding]:
    for label in pairing.orphans:
        yield found("orphan_label", label, "belongs to no image", "unzip the images again, or take the label away")


def ignored(parts: Sequence[Part], split: str) -> Iterator[Finding]:
    """Image files beside the images that the layout passes over, such as 00001.PNG."""
    images = {image for part in parts for image in part.images(split)[1]}
    for folder in sorted({image.parent for image in images}):
        for path in sorted(folder.iterdir()):
            if path not in images and path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != ".":
                fix = "give it the name and format in which it was downloaded, or take it away"
                yield found("ignored_image", path, "is not looked at: its name is not of this layout", fix)


def lying_about(target: Target) -> Iterator[Finding]:
    """Archives and hidden files in the folders of a data set."""
    for home in target.homes:
        for archive in archives_in(home):
            if archive.name != "read_mapping.zip":
                yield damage(archive) or found("archive", archive, "is left over", "may be deleted once it is unzipped")
        hidden = [Path(folder, name) for folder, _, names in os.walk(home) for name in names if name[:2] == "._"]
        if hidden:
            fix = f"nothing to do, they are passed over; to be rid of them: find {home} -name '._*' -delete"
            yield found("hidden_files", hidden[0], f"is of macOS, as {len(hidden):,} files here are", fix)
