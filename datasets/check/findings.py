"""Every fault that the doctor knows, in one table, and a finding: a fault of one file."""

from pathlib import Path
from typing import NamedTuple

from utils.errors import UsageError

ERROR, NOTE = "error", "note"
PUT_BACK = "put back the file as it was downloaded"
REFUSED = ("bad_image", "bad_label", "size_mismatch")  # by the loader, for a single pair: ``--skip_bad`` replaces them


class Fault(NamedTuple):
    """What is wrong with a file and what to do; {names} are filled in."""

    severity: str  # the usual one
    message: str
    fix: str


IN_THE_LOADERS_WORDS = (*REFUSED, "no_images", "refused_split")
FAULTS = dict.fromkeys(IN_THE_LOADERS_WORDS, Fault(ERROR, "", "")) | {  # docs/check.md explains each code
    # Folders
    "misplaced_images": Fault(
        ERROR, "is not read: the images of {split} are expected as {patterns}", "unzip, move or rename them to fit"
    ),
    "unread_folder": Fault(NOTE, "is not read: no data set is called so", "rename it if it holds one of them"),
    "unread_file": Fault(NOTE, "is not read", "unzip, rename or convert it to fit, or delete it"),
    # Pairs and splits
    "count": Fault(NOTE, "has {images:,} images of {split}, not {expected:,}", "complete them for comparable scores"),
    "missing_label": Fault(NOTE, "has no label {label}", "fetch or make it (docs/datasets.md), or take the image away"),
    "orphan_label": Fault(NOTE, "belongs to no image", "unzip the images again, or take the label away"),
    "loader": Fault(NOTE, "{note}", "nothing to do if this is intended (docs/datasets.md)"),
    "double": Fault(ERROR, "is the same picture as {other} of {split}", "take one away, or unzip both splits again"),
    # What training would read without an error
    "other_size": Fault(
        NOTE, "is {size}, but the images of {dataset} are {usual}", f"{PUT_BACK} for comparable scores"
    ),
    "turned": Fault(ERROR, "has an EXIF rotation; its label may not", "turn the pixels to fit it and remove the tag"),
    "grey_image": Fault(NOTE, "has no colours (mode {mode})", "nothing to do if it is grey; else fetch it again"),
    "lossy_label": Fault(ERROR, "is compressed with losses ({format}), which change ids", PUT_BACK),
    "train_ids": Fault(ERROR, "holds train ids ({ids}) instead of the ids of {dataset}", PUT_BACK),
    "other_palette": Fault(
        ERROR, "has another palette than others ({index} is {colour}, not {usual})", "put it back, or name `colours`"
    ),
    "stored_as_colours": Fault(NOTE, "is read by colour; {share:.0%} of its pixels have those of no class", PUT_BACK),
    "unused_class": Fault(
        NOTE, "do not show {names} in any label that was opened", "see whether classes.yaml fits them{remedy}"
    ),
    "plain_label": Fault(
        NOTE, "is {name} everywhere", f"look at it, as a few such labels are natural; if it is wrong, {PUT_BACK}"
    ),
}


class Finding(NamedTuple):
    """A fault of a file."""

    code: str
    file: str
    message: str
    fix: str
    severity: str
    dataset: str = ""
    split: str = ""

    @classmethod
    def of(cls, code: str, file: Path | str, *, severity: str = "", **facts: object) -> "Finding":
        """A finding in the words of the table."""
        fault = FAULTS[code]
        message, fix = (text.format(**facts) for text in (fault.message, fault.fix))
        return cls(code, str(file), message, fix, severity or fault.severity)

    @classmethod
    def from_loader(cls, code: str, error: UsageError) -> "Finding":
        """A finding in the words of the loader's error, '<file>: <message>: <fix>'."""
        file, _, rest = str(error).partition(": ")
        message, _, fix = rest.rpartition(": ")
        return cls(code, file, message, fix, ERROR)
