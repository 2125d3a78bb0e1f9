"""Why no image of a split is found where the loader looks for it."""

import os
from collections.abc import Iterator
from pathlib import Path

from datasets.check.findings import Finding, found, told_by_loader
from datasets.check.recognise import Target, archives_in
from datasets.disk.layouts import Layout, Part, visible
from datasets.images import IMAGE_SUFFIXES
from datasets.own.custom import CustomSpec
from utils.errors import UsageError

_DEPTH = 3  # of folders that are looked through for images


def why_missing(target: Target, split: str, error: UsageError) -> Finding:
    """The likeliest reason; ``error`` is the loader's."""
    if isinstance(target.row, CustomSpec):
        return told_by_loader("split_source", str(error).partition(": ")[0], error)
    for probe in (refused, bdd_100k, split_name, wrong_format, nested, not_unzipped):
        if (finding := next(probe(target, split, error), None)) is not None:
            return finding
    fix = "complete the images; `python -m datasets.check --help` and docs/datasets.md tell the layouts"
    return found("no_images", target.homes[0], f"no image as {_patterns(target, split)}", fix)


def refused(target: Target, split: str, error: UsageError) -> Iterator[Finding]:
    for home, layout in _places(target, split):
        if layout.refused and Part(home, layout).first(split):
            yield told_by_loader("refused_labels", home, error)


def bdd_100k(target: Target, split: str, error: UsageError) -> Iterator[Finding]:
    for home in target.homes if target.row.name == "bdd100k" else []:
        if (folder := home / "images" / "100k").is_dir():
            fix = "fetch the 10k images, to which the labels belong, into images/10k"
            yield found("bdd_100k", folder, "holds the 100k images, which have no semantic labels", fix)


def split_name(target: Target, split: str, error: UsageError) -> Iterator[Finding]:
    """Folders such as ``validation`` for ``val``, beside which there is nothing of the right name."""
    for home, layout in _places(target, split):
        parts = layout.images.split("/")
        if "{split}" not in parts:
            continue
        place, wanted = parts.index("{split}"), layout.splits[split][0]
        for image in visible(home.glob(layout.images.format(split="*"))):
            name = image.relative_to(home).parts[place]
            if name[:3].lower() == wanted[:3] and name != "train_extra" and name not in layout.splits[split]:
                folder = home.joinpath(*image.relative_to(home).parts[: place + 1])
                fix = f"rename it to {wanted}, and that of its labels too"
                yield found("split_name", folder, f"is not looked at: the split is called {wanted}", fix)


def wrong_format(target: Target, split: str, error: UsageError) -> Iterator[Finding]:
    for home, layout in _places(target, split):
        for name in layout.splits[split]:
            stem, _, suffix = layout.images.format(split=name).rpartition(".")
            for other in sorted(visible(home.glob(f"{stem}.*"))):
                if other.suffix.lower() in IMAGE_SUFFIXES:
                    message = f"is not looked at: the images of {target.row.name} are .{suffix} files"
                    yield found("wrong_format", other, message, "put back the files as they were downloaded")


def nested(target: Target, split: str, error: UsageError) -> Iterator[Finding]:
    for home in target.homes:
        for folder in _folders(home, _DEPTH):
            for layout in target.row.layouts:
                if split in layout.splits and (first := Part(folder, layout).first(split)):
                    message = f"has its images one or more folders too deep ({first[1].relative_to(home).as_posix()})"
                    fix = f"move what {folder.relative_to(home).as_posix()} holds up, as {_patterns(target, split)}"
                    yield found("nested_folder", home, message, fix)


def not_unzipped(target: Target, split: str, error: UsageError) -> Iterator[Finding]:
    for home in target.homes:
        for archive in archives_in(home):
            message = f"is not unzipped, and no image of {split} is there"
            yield found("not_unzipped", archive, message, f"unzip it in {home}")


def _places(target: Target, split: str) -> Iterator[tuple[Path, Layout]]:
    for home in target.homes:
        yield from ((home, layout) for layout in target.row.layouts if split in layout.splits)


def _patterns(target: Target, split: str) -> str:
    return " or ".join(dict.fromkeys(layout.pattern(split) for _, layout in _places(target, split)))


def _folders(home: Path, depth: int) -> Iterator[Path]:
    """The folders below one, level by level."""
    level = [home]
    for _ in range(depth):
        below = (os.scandir(folder) for folder in level)
        level = [Path(entry.path) for entries in below for entry in entries if entry.is_dir() and entry.name[0] != "."]
        yield from sorted(level)
