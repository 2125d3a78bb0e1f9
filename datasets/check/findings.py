"""Every fault that the doctor knows, in one table, and a finding: a fault of one file."""

from pathlib import Path
from typing import NamedTuple

from utils.errors import UsageError

ERROR, NOTE = "error", "note"
PUT_BACK = "put back the file as it was downloaded"
FETCH = "fetch the file again"
LOOK = f"look at it, as a few such labels are natural; if it is wrong, {PUT_BACK}"


class Fault(NamedTuple):
    """What is wrong with a file and what to do; {names} are filled in."""

    severity: str  # the usual one
    message: str
    fix: str


IN_THE_LOADERS_WORDS = (
    "refused_labels", "split_source", "truncated", "unreadable", "broken_polygons", "size_mismatch", "image_depth",
    "label_8_bit", "label_mode", "colour_label", "unknown_ids",
)  # fmt: skip
FAULTS = dict.fromkeys(IN_THE_LOADERS_WORDS, Fault(ERROR, "", "")) | {  # docs/check.md explains each code
    # Folders
    "not_unzipped": Fault(ERROR, "is not unzipped, and there is no image of {split}", "unzip it in {home}"),
    "nested_folder": Fault(
        ERROR, "has its images too deep ({image})", "move the content of {folder} up into this folder"
    ),
    "split_name": Fault(ERROR, "is not read: the split is called {wanted}", "rename it and the folder of its labels"),
    "wrong_format": Fault(ERROR, "is not read: the images of {dataset} are .{suffix} files", PUT_BACK),
    "bdd_100k": Fault(ERROR, "holds the 100k images, which have no labels", "fetch the 10k images into images/10k"),
    "no_images": Fault(ERROR, "has no image of {split}: {reason}", "complete them or divide them in another way"),
    "misnamed_folder": Fault(NOTE, "holds {dataset}, but has another name", "rename it to {wanted}"),
    "archive": Fault(NOTE, "is left over", "delete it if its content is unzipped"),
    "hidden_files": Fault(NOTE, "is a file of macOS, one of {number:,}", "nothing to do, such files are not read"),
    "ignored_image": Fault(NOTE, "is not read: the layout does not know its name", f"{PUT_BACK}, or take it away"),
    # Numbers, pairs, splits
    "count": Fault(NOTE, "has {images:,} images of {split}, not {expected:,}", "complete them for comparable scores"),
    "missing_label": Fault(ERROR, "has no label {label}", "unzip the labels again, or take the image away"),
    "other_labels": Fault(ERROR, "has no label {label}, only {others}", "fetch or make {label} (docs/datasets.md)"),
    "orphan_label": Fault(NOTE, "belongs to no image", "unzip the images again, or take the label away"),
    "loader": Fault(NOTE, "{note}", "nothing to do if this is intended (docs/datasets.md)"),
    "double": Fault(ERROR, "is the same picture as {other} of {split}", "take one away, or unzip both splits again"),
    # Files
    "empty_file": Fault(ERROR, "is empty", FETCH),
    "lfs_pointer": Fault(ERROR, "is a pointer of Git LFS, not the file itself", "run `git lfs pull`"),
    "html_page": Fault(ERROR, "is a web page, as a failed download leaves it", f"log in and {FETCH}"),
    "dangling_link": Fault(ERROR, "is a link to a file that does not exist", "mend the link"),
    "other_size": Fault(
        NOTE, "is {size}, but the images of {dataset} are {usual}", f"{PUT_BACK} for comparable scores"
    ),
    "turned": Fault(ERROR, "has an EXIF rotation that is ignored", "turn the pixels to fit the label; remove the tag"),
    "grey_image": Fault(NOTE, "has no colours (mode {mode})", FETCH),
    # Contents of labels
    "lossy_label": Fault(ERROR, "is compressed with losses ({format}), which change ids", PUT_BACK),
    "train_ids": Fault(ERROR, "holds train ids ({ids}) instead of the ids of {dataset}", PUT_BACK),
    "other_palette": Fault(ERROR, "has another palette than {dataset} (index {index} is {colour})", PUT_BACK),
    "unknown_colours": Fault(ERROR, "has colours of no class of {dataset}, in {share:.0%} of its pixels", PUT_BACK),
    "stored_as_colours": Fault(NOTE, "stores colours, which some classes share", PUT_BACK),
    "zero_channel": Fault(ERROR, "has only zeros in its first channel, which holds the classes", PUT_BACK),
    "void_label": Fault(NOTE, "holds no class that is used", LOOK),
    "one_class": Fault(NOTE, "is {name} everywhere", LOOK),
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
    def of(
        cls, code: str, file: Path | str, *, error: UsageError | None = None, severity: str = "", **facts: object
    ) -> "Finding":
        """A finding in the words of the table, or of a loader's ``error`` ('<file>: <message>: <fix>')."""
        fault = FAULTS[code]
        if error:
            message, _, fix = str(error).removeprefix(f"{file}: ").rpartition(": ")
        else:
            message, fix = fault.message.format(**facts), fault.fix.format(**facts)
        return cls(code, str(file), message, fix, severity or fault.severity)
