"""The pairs of a split and the faults that names of files show.  No picture is opened here."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datasets.check.findings import Finding
from datasets.disk.layouts import Pairs, Part, Sample
from datasets.images import IMAGE_SUFFIXES
from datasets.registry import DatasetSpec
from datasets.spec import NoImagesError
from utils.errors import UsageError
from utils.forms import WHOLE, read_json

OF_PHONES = (".heic", ".heif", ".avif")
ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".rar", ".7z")


@dataclass
class Split:
    """A split of a data set, and its faults."""

    dataset: DatasetSpec
    name: str
    pairs: Sequence[Sample] = field(default_factory=Pairs)
    images: set[Path] = field(default_factory=set)  # all that the layout knows, with or without labels
    image_size: tuple[int, int] | None = None  # width and height that all images should have
    findings: list[Finding] = field(default_factory=list)

    def add(self, findings: Iterable[Finding]) -> None:
        self.findings += [finding._replace(dataset=self.dataset.name, split=self.name) for finding in findings]


def list_splits(dataset: DatasetSpec, root: Path, name: str | None) -> list[Split]:
    """The split of that name, or all splits; some may then be missing, as users fetch only what they need."""
    if name:
        return [list_split(dataset, root, name)]
    splits = [list_split(dataset, root, name) for name in dataset.splits]
    faulty = [split for split in splits if any(finding.code != "no_images" for finding in split.findings)]
    if not any(split.pairs for split in splits):
        return faulty or splits[:1]
    return [split for split in splits if split.pairs or (split in faulty and split.name in ("train", "val"))]


def list_split(dataset: DatasetSpec, root: Path, name: str) -> Split:
    """A split with the pairs that the loader takes, or with the reason why it stops."""
    demo = demo_note(dataset.homes(root))
    split = Split(dataset, name, image_size=tuple(demo["size"][::-1]) if demo else dataset.size)
    try:
        parts = dataset.find(root, name)
        split.images = {image for part in parts for image in part.images(name)[1]}
        pairing = dataset.pairing(parts, name)
        split.pairs = Pairs(pairing.samples)  # they are opened even if the loader stops below
        split.add(Finding.of("missing_label", sample.image, label=sample.label) for sample in pairing.bare)
        split.add(Finding.of("orphan_label", label) for label in pairing.orphans)
        split.pairs = dataset.pairs(root, name)
    except NoImagesError as error:
        split.pairs = Pairs()
        misplaced = None if split.images else misplaced_images(dataset, root, name)
        split.add([misplaced or Finding.from_loader("no_images", error)])
        return split
    except UsageError as error:
        split.add([Finding.from_loader("refused_split", error)])
        return split
    # The first notes are about images and labels without a partner, which have their own findings.
    notes = split.pairs.notes[bool(pairing.bare) + bool(pairing.orphans) :]
    home, expected = split.pairs.home, split.pairs.expected
    split.add(Finding.of("loader", home, note=note.removeprefix(f"{dataset.name}: ")) for note in notes)
    if demo:
        expected = None if "rule" in split.pairs.split_by or dataset.part_of else demo.get(name)
        split.pairs.expected = expected
    if expected not in (None, len(split.pairs)):
        split.add([Finding.of("count", home, images=len(split.pairs), split=name, expected=expected)])
    return split


def demo_note(homes: Sequence[Path]) -> dict:
    """The note of a demo folder on its own content; {} for real data."""
    form = {str: object, "size": [WHOLE, WHOLE], "train": WHOLE, "val": WHOLE}
    try:
        return read_json(homes[0] / "demo.json", form, remedy="")
    except UsageError:
        return {}


def misplaced_images(dataset: DatasetSpec, root: Path, split: str) -> Finding | None:
    """An unread image whose path has the folders of the split in it: too deep, 'validation' for 'val', or a JPEG."""
    layouts = [layout for layout in dataset.layouts if split in layout.splits]
    for home in dataset.homes(root):
        parts = [(Part(home, layout), name) for layout in dataset.layouts for name in layout.splits]
        read = {image for part, name in parts for image in part.images(name)[1]}
        files = sorted(path for path in home.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
        unread = [path for path in files if path not in read and path.name[0] != "."]
        for layout in layouts:
            folders = [f"/{folder}" for folder in layout.images.split("/")[:-1] if "*" not in folder]
            expected = ".*".join(folders).format(split=layout.splits[split][0][:3])
            for path in unread:
                if re.search(expected, f"/{path.relative_to(home).parent.as_posix()}", re.IGNORECASE):
                    return Finding.of("misplaced_images", path, split=split, patterns=dataset.patterns(split))
    return None


def unread_files(dataset: DatasetSpec, root: Path, splits: Sequence[Split]) -> Iterator[Finding]:
    """Archives, hidden files of macOS, and images beside the others whose names the layout does not know."""
    homes = dataset.homes(root)
    images = {image for split in splits for image in split.images if image.suffix.lower() not in OF_PHONES}
    folders = {image.parent for image in images}
    of_owners = {home / place for home in homes for place in dataset.split_mat}
    for path in sorted({path for home in homes for path in home.rglob("*")} - images - of_owners):
        beside_images = path.parent in folders and path.suffix.lower() in (*IMAGE_SUFFIXES, *OF_PHONES)
        if beside_images or path.name.lower().endswith(ARCHIVES) or path.name.startswith("._"):
            yield Finding.of("unread_file", path)._replace(dataset=dataset.name)
