"""Real files of the owners load to the labels that another decoder finds: Pillow and a table from id to name."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.labels import CLASSES, MAPILLARY_CLASSES
from datasets.registry import spec
from utils.errors import UsageError

FORMATS = Path(os.environ.get("PINMEM_FORMATS", Path(__file__).parents[2] / "shared" / "realdata" / "formats"))
pytestmark = pytest.mark.skipif(not FORMATS.is_dir(), reason=f"no files of the owners in {FORMATS}")

# cityscapesScripts, helpers/labels.py: the ids of the classes that are evaluated.
CITYSCAPES = {
    7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole", 19: "traffic light",
    20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky", 24: "person", 25: "rider", 26: "car", 27: "truck",
    28: "bus", 31: "train", 32: "motorcycle", 33: "bicycle",
}  # fmt: skip
MAPILLARY = {
    "Curb": "sidewalk", "Lane Marking - General": "road", "Manhole": "road", "Bicyclist": "rider",
    "Motorcyclist": "rider", "Other Rider": "rider", "Utility Pole": "pole", "Traffic Sign (Front)": "traffic sign",
    "On Rails": "train",
}  # fmt: skip
SAME_NAME = {name: name.lower() for name in MAPILLARY_CLASSES if name.lower() in CLASSES}
TRAIN_IDS = dict(enumerate(CLASSES))


def decoded(path: Path, names: Mapping[int, str]) -> np.ndarray:
    """Train ids H,W, id by id."""
    stored = np.array(Image.open(path))
    train_ids = np.full(stored.shape, 255, np.uint8)
    for stored_id, name in names.items():
        train_ids[stored == stored_id] = CLASSES.index(name)
    return train_ids


def labels_of(kind: str) -> list[Path]:
    found = sorted(FORMATS.glob(kind))
    assert found, f"no {kind}"
    return found


@pytest.mark.parametrize(
    ("name", "pattern", "names"),
    [
        ("cityscapes", "cityscapes/**/*_labelIds.png", CITYSCAPES),
        ("cityscapes", "cityscapes/**/*_labelTrainIds.png", TRAIN_IDS),
        ("kitti", "kitti/data_semantics/training/semantic/*.png", CITYSCAPES),
        ("bdd100k", "bdd100k/**/masks/**/*.png", TRAIN_IDS),
        ("bdd100k", "bdd100k/**/semseg_mask.png", TRAIN_IDS),
        ("gtav", "gtav/**/*.png", CITYSCAPES),
    ],
)
def test_labels_of_the_owners(name: str, pattern: str, names: Mapping[int, str]) -> None:
    for path in labels_of(pattern):
        truth = decoded(path, names)
        assert len(np.unique(truth)) > 1 or "pseudo" in path.as_posix()  # some are crops of one class
        np.testing.assert_array_equal(spec(name).decode(path), truth)


def test_mapillary_of_two_versions() -> None:
    names = {
        k: (MAPILLARY | SAME_NAME)[name] for k, name in enumerate(MAPILLARY_CLASSES) if name in MAPILLARY | SAME_NAME
    }
    (path,) = labels_of("mapillary/**/v1.2/*.png")
    np.testing.assert_array_equal(spec("mapillary").decode(path), decoded(path, names))
    (path,) = labels_of("mapillary/**/v2.0/*.png")
    with pytest.raises(UsageError, match="holds the ids 84, 85, but mapillary has 0 to 65"):
        spec("mapillary").decode(path)


def test_gtav_by_colour_is_what_its_colours_say() -> None:
    (path,) = labels_of("gtav/**/*.png")
    names = CITYSCAPES | {18: "pole", 34: "car"}
    np.testing.assert_array_equal(spec("gtav", gtav_labels="colour").decode(path), decoded(path, names))


def test_trees_of_the_owners() -> None:
    assert [sample.name for sample in spec("cityscapes").pairs(FORMATS, "train")] == [
        "aachen_000000_000019_leftImg8bit", "aachen_000001_000019_leftImg8bit",
    ]  # fmt: skip
    with pytest.raises(UsageError, match=r"000000_10\.png: differs in size from its label .*2 of 2 images of kitti"):
        spec("kitti").pairs(FORMATS, "val")


def test_a_tree_of_bdd100k(tmp_path: Path) -> None:
    (tmp_path / "bdd100k").symlink_to(FORMATS / "bdd100k" / "mmseg_pseudo_bdd100k_dataset")
    for split in ("train", "val"):
        pairs = spec("bdd100k").pairs(tmp_path, split)
        assert len(pairs) == 3 and not pairs.notes and "since 2021" in pairs.layout
        assert all(sample.image.stem == sample.label.stem for sample in pairs)
