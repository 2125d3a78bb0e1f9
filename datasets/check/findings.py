"""What can be wrong with data, and how it is told."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

ERROR, NOTE = "error", "note"


class Kind(NamedTuple):
    """A kind of fault; docs/check.md explains each."""

    severity: str
    meaning: str


KINDS = {
    # Folders
    "not_unzipped": Kind(ERROR, "there are archives where the images should be"),
    "nested_folder": Kind(ERROR, "the images lie deeper than they should"),
    "split_name": Kind(ERROR, "the folder of a split has another name"),
    "wrong_format": Kind(ERROR, "the images have another file format"),
    "bdd_100k": Kind(ERROR, "BDD100K's 100k images, which have no labels of this kind, instead of its 10k images"),
    "refused_labels": Kind(ERROR, "only labels that cannot be used, such as those of Mapillary v2.0"),
    "no_images": Kind(ERROR, "no image of a split was found"),
    "misnamed_folder": Kind(NOTE, "a data set under a name by which it is not found"),
    "archive": Kind(NOTE, "an archive beside the unzipped data"),
    "hidden_files": Kind(NOTE, "files that macOS puts into archives"),
    "ignored_image": Kind(NOTE, "an image file whose name the layout does not know"),
    # Numbers, pairs, splits
    "count": Kind(NOTE, "more or fewer images than expected"),
    "missing_label": Kind(ERROR, "an image without label; a note where they are few"),
    "other_labels": Kind(ERROR, "an image with labels of another kind only; a note where they are few"),
    "orphan_label": Kind(NOTE, "a label without image"),
    "split_source": Kind(ERROR, "split.mat or a list of names that cannot be used"),
    "loader": Kind(NOTE, "what the loader itself tells about a split"),
    "double": Kind(ERROR, "the same picture in two splits"),
    # Files
    "empty_file": Kind(ERROR, "a file of zero bytes"),
    "lfs_pointer": Kind(ERROR, "a pointer of Git LFS instead of the file"),
    "html_page": Kind(ERROR, "a web page saved under the name of a file"),
    "dangling_link": Kind(ERROR, "a link to a file that is not there"),
    "truncated": Kind(ERROR, "a picture that ends too early or is broken"),
    "unreadable": Kind(ERROR, "a file that is no picture"),
    "broken_polygons": Kind(ERROR, "polygons that cannot be drawn"),
    "size_mismatch": Kind(ERROR, "an image and a label of different sizes"),
    "other_size": Kind(NOTE, "images that do not have the size in which the owners ship them"),
    "image_depth": Kind(ERROR, "an image of floats, or of integers of an unknown scale"),
    "turned": Kind(ERROR, "a photograph that is to be turned, which labels cannot know; a note in sets of others"),
    "grey_image": Kind(NOTE, "an image without colours"),
    # Contents of labels
    "label_8_bit": Kind(ERROR, "a SYNTHIA label converted to 8 bits, by which its classes are lost"),
    "label_mode": Kind(ERROR, "a label of another depth, such as 16-bit instance ids"),
    "colour_label": Kind(ERROR, "a coloured picture instead of class ids"),
    "lossy_label": Kind(ERROR, "a label stored with losses (JPEG), by which ids blur"),
    "unknown_ids": Kind(ERROR, "ids that the data set does not have: labels of another kind or version"),
    "train_ids": Kind(ERROR, "train ids where the data set's own ids are read"),
    "other_palette": Kind(ERROR, "a palette in another order, by which indices mean other classes"),
    "unknown_colours": Kind(ERROR, "colours that the data set does not have, which would be ignored"),
    "stored_as_colours": Kind(NOTE, "colours instead of indices, which are read by the palette"),
    "zero_channel": Kind(ERROR, "a SYNTHIA label whose class channel is zero everywhere"),
    "void_label": Kind(NOTE, "a label without any class; an error where they are many"),
    "one_class": Kind(NOTE, "a label of one class only; an error where they are many"),
}


@dataclass(frozen=True)
class Finding:
    """A fault: the file, what is wrong with it, and what mends it."""

    code: str
    file: str
    message: str
    fix: str
    severity: str
    dataset: str = ""
    split: str = ""

    def of(self, dataset: str, split: str = "") -> "Finding":
        """The same, of a data set and split."""
        return replace(self, dataset=dataset, split=split)


def found(code: str, file: Path | str, message: str, fix: str, *, severity: str = "") -> Finding:
    """A fault of a kind, in the severity of its kind unless another is given."""
    return Finding(code, str(file), message, fix, severity or KINDS[code].severity)


def told_by_loader(code: str, file: Path | str, error: Exception, *, hint: str = "") -> Finding:
    """A fault in the words of the loader, whose errors read '<file>: <what is wrong>: <remedy>'."""
    message, _, fix = str(error).removeprefix(f"{file}: ").rpartition(": ")
    return found(code, file, f"{message}{hint}", fix)
