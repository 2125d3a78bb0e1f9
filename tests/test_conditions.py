"""The images under a condition, by their folders or by files of attributes, as data sets of their own."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from datasets.check import check
from datasets.demo import write_demo
from datasets.disk.layouts import Sample
from datasets.own.custom import PREFIX
from datasets.prepare.__main__ import main as prepare
from datasets.registry import spec, titles
from engine.options.training_command import parse_training
from utils.errors import CommonError, UsageError

HOURS = ("daytime", "night", "dawn/dusk")
WEATHERS = ("clear", "rainy")


def attributes(index: int) -> dict[str, str]:
    return {"weather": WEATHERS[index % 2], "scene": "city street", "timeofday": HOURS[index % 3]}


@pytest.fixture
def bdd(tmp_path: Path) -> Path:
    """Eight images of BDD100K, the last two without attributes in any file."""
    for index in range(8):
        for path in (f"images/10k/val/{index}.jpg", f"labels/sem_seg/masks/val/{index}.png"):
            (tmp_path / "bdd100k" / path).parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (4, 2)).save(tmp_path / "bdd100k" / path)
    return tmp_path / "bdd100k"


def write_2018(home: Path) -> None:
    """One line of all images, whose labels have attributes too; an image of our val may be in their train."""
    for split, indices in (("train", range(3)), ("val", range(3, 6))):
        frames = [
            {
                "name": f"{index}.jpg",
                "attributes": attributes(index),
                "labels": [{"name": "x", "category": "car", "attributes": {"occluded": False, "timeofday": "night"}}],
            }
            for index in indices
        ]
        (home / "labels" / f"bdd100k_labels_images_{split}.json").write_text(json.dumps(frames))


def write_2020(home: Path) -> None:
    (home / "labels/det_20").mkdir()
    frames = [{"name": f"{index}.jpg", "attributes": attributes(index), "timestamp": 10000} for index in range(6)]
    (home / "labels/det_20/det_val.json").write_text(json.dumps(frames, indent=4))


def write_one_each(home: Path) -> None:
    (home / "labels/100k/train").mkdir(parents=True)
    for index in (*range(6), 99):
        frame = {"attributes": attributes(index), "frames": [{"objects": []}], "name": str(index)}
        (home / f"labels/100k/train/{index}.json").write_text(json.dumps(frame))


@pytest.mark.parametrize("write", [write_2018, write_2020, write_one_each])
def test_attributes_choose_the_images(write: Callable[[Path], None], bdd: Path) -> None:
    write(bdd)
    chosen = {
        name: [sample.name for sample in spec(f"bdd100k_{name}").pairs(bdd.parent, "val")]
        for name in ("night", "rainy", "dusk", "rainy_night")
    }
    assert chosen == {"night": ["1", "4"], "rainy": ["1", "3", "5"], "dusk": ["2", "5"], "rainy_night": ["1"]}
    pairs = spec("bdd100k_night").pairs(bdd.parent, "val")
    assert pairs.notes == ("bdd100k_night val: images have no attributes and are left out (2): 6.jpg, 7.jpg",)
    assert pairs.expected is None and len(spec("bdd100k").pairs(bdd.parent, "val")) == 8
    with pytest.raises(UsageError, match=r"bdd100k: none of the 8 images of bdd100k val is foggy: choose another"):
        spec("bdd100k_foggy").pairs(bdd.parent, "val")


def test_missing_and_broken_files_of_attributes(bdd: Path) -> None:
    with pytest.raises(
        UsageError, match=r"bdd100k_night needs .* none are in labels/\S+ or labels/det_20/\S+ or .*docs"
    ):
        spec("bdd100k_night").pairs(bdd.parent, "val")
    write_one_each(bdd)
    (bdd / "labels/100k/train/3.json").write_text('{"name": "3"}')
    with pytest.raises(UsageError, match=r"3\.json: cannot be used \(attributes is missing\); fetch it again"):
        spec("bdd100k_night").pairs(bdd.parent, "val")
    path = bdd / "labels/bdd100k_labels_images_val.json"
    for text in ("", '[{"name": "3.jpg", "attributes": {"timeofday": }}]'):
        path.write_text(text)
        with pytest.raises(UsageError, match=r"images_val\.json: cannot be used \(.*\); fetch it again"):
            spec("bdd100k_night").pairs(bdd.parent, "val")
    write_2018(bdd)
    os.utime(path, ns=(1, 1))
    path.with_name("bdd100k_labels_images_det_coco_val.json").write_text(
        '{"categories": [{"name": "car"}]}'
    )  # a user's
    assert len(spec("bdd100k_night").pairs(bdd.parent, "val")) == 2


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("night")  # no folder above the data counts
    domains = ["acdc", "muses", "dark_zurich", "urbansyn", "bdd100k"]
    write_demo(root, domains=domains, train=8, val=8, size=(32, 64), workers=1)
    return root


@pytest.mark.parametrize(
    ("name", "images"),
    [("acdc", 8), ("acdc_fog", 2), ("acdc_night", 2), ("muses", 8), ("muses_night", 4), ("muses_fog_night", 1)],
)
def test_folders_choose_the_images(name: str, images: int, demo: Path) -> None:
    dataset = spec(name)
    for split in ("train", "val"):
        pairs = dataset.pairs(demo, split)
        assert len(pairs) == images and not pairs.notes
        assert all(word in sample.image.relative_to(demo).parts for sample in pairs for word in dataset.needed)
    whole = {sample.name for sample in spec(name.partition("_")[0]).pairs(demo, "val")}
    assert whole >= {sample.name for sample in pairs}


def test_the_demo_knows_its_hours(demo: Path) -> None:
    def light(sample: Sample) -> int:
        return Image.open(sample.image).convert("L").resize((1, 1)).getpixel((0, 0))

    night, day = (spec(f"bdd100k_{name}").pairs(demo, "val") for name in ("night", "daytime"))
    assert night and day and max(map(light, night)) < min(map(light, day))


def test_the_doctor_checks_a_part(demo: Path, bdd: Path) -> None:
    assert not check(demo).errors
    report = check(demo, names=["acdc_fog", "muses_rain"])
    assert {(each.dataset.name, each.name, len(each.pairs)) for each in report.splits} == {
        ("acdc_fog", "train", 2), ("acdc_fog", "val", 2), ("muses_rain", "train", 2), ("muses_rain", "val", 2)
    }  # fmt: skip
    (finding,) = (each for each in check(bdd.parent, names=["bdd100k_night"]).findings if each.split == "val")
    assert finding.code == "refused_split" and "labels/det_20" in finding.message


def test_a_part_shares_the_packed_copies(demo: Path, capsys: pytest.CaptureFixture) -> None:
    prepare([str(demo), "--packed", "raw", "--datasets", "acdc_fog", "--splits", "val", "--workers", "1"])
    prepare([str(demo), "--packed", "raw", "--datasets", "acdc", "--splits", "val", "--workers", "1"])
    assert "copies of acdc: 6 to make, 2 are there" in capsys.readouterr().out


def test_names() -> None:
    for name, message in (
        ("acdc_foggy", r"acdc_foggy: acdc has no condition 'foggy': choose from fog, night, rain, snow"),
        (
            "gtav_night",
            r"no data set is called gtav_night: choose from cityscapes.*, a part like acdc_night, or",
        ),
        ("muses_", r"muses has no condition ''"),
    ):
        with pytest.raises(UsageError, match=message):
            spec(name)
    assert spec("acdc_night").counts == {"train": 400, "val": 106}
    assert titles([f"{PREFIX}/a/acdc_fog"]) == {f"{PREFIX}/a/acdc_fog": "a_acdc_fog"}


@pytest.mark.parametrize(
    ("source", "target"), [("acdc", "acdc_fog"), ("acdc_fog", "acdc"), ("muses_fog", "muses_night_fog")]
)
def test_a_part_of_a_source_is_not_unseen(source: str, target: str) -> None:
    with pytest.raises(CommonError, match=rf"--val_dataset {target}: belongs with the source {source}, .*eval\.py"):
        parse_training(["--dataset", source, "--val_dataset", target])
    assert parse_training(["--dataset", "acdc_fog", "--val_dataset", "acdc_night"]).run.targets == ("acdc_night",)
