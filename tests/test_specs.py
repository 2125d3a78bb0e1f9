"""Data sets on disk: where files are looked for, how labels are decoded, what is said when something is wrong."""

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets import labels
from datasets.disk.label_files import read_8_bit
from datasets.registry import SPECS, spec
from utils.errors import UsageError

ROOT = Path(__file__).parent.parent

# One validation pair of each data set, as in the published README or, where that names none, as it is downloaded.
TREES = {
    "cityscapes": (
        "cityscapes/leftImg8bit_trainvaltest/leftImg8bit/val/ulm/ulm_000001_000019_leftImg8bit.png",
        "cityscapes/gtFine_trainvaltest/gtFine/val/ulm/ulm_000001_000019_gtFine_labelIds.png",
        "ulm_000001_000019_leftImg8bit",
    ),
    "gtav": ("GTAV/images/valid/folder/00042.png", "GTAV/labels/valid/folder/00042.png", "folder_00042"),
    "synthia": ("synthia/RGB/val/0000042.png", "synthia/GT/LABELS/val/0000042.png", "0000042"),
    "bdd100k": ("bdd-100k/images/val/0a-4d.jpg", "bdd-100k/labels/val/0a-4d_train_id.png", "0a-4d"),
    "mapillary": ("mapillary/validation/images/x_Y.jpg", "mapillary/validation/labels/x_Y.png", "x_Y"),
    "idd": (
        "idd/leftImg8bit_trainvaltest/leftImg8bit/val/7/000001_leftImg8bit.png",
        "idd/gtFine_trainvaltest/gtFine/val/7/000001_gtFine_labelcsTrainIds.png",
        "7_000001_leftImg8bit",
    ),
    "kitti": ("kitti/training/image_2/000000_10.png", "kitti/training/semantic/000000_10.png", "000000_10"),
    "camvid": ("camvid/val/0016E5_07959.png", "camvid/valannot/0016E5_07959.png", "0016E5_07959"),
    "acdc": (
        "acdc/rgb_anon/fog/val/GOPR0476/GOPR0476_frame_000854_rgb_anon.png",
        "acdc/gt/fog/val/GOPR0476/GOPR0476_frame_000854_gt_labelTrainIds.png",
        "fog_val_GOPR0476_frame_000854_rgb_anon",
    ),
}


def save(image: Image.Image, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


def write_png_16(path: Path, channels: np.ndarray) -> Path:
    """A 16-bit RGB PNG from H,W,3 numbers, written chunk by chunk (Pillow has no such mode)."""
    height, width, _ = channels.shape
    return write_png(path, (width, height), [row.astype(">u2").tobytes() for row in channels], depth=16, colours=2)


def write_png(path: Path, size: tuple[int, int], rows: list[bytes], *, depth: int, colours: int) -> Path:
    rows = b"".join(b"\0" + row for row in rows)
    header = struct.pack(">IIBBBBB", *size, depth, colours, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    data = b"".join(struct.pack(">I", len(c)) + t + c + struct.pack(">I", zlib.crc32(t + c)) for t, c in chunks)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    return path


@pytest.mark.parametrize(("depth", "row"), [(2, bytes([0b00011011])), (4, bytes([0x01, 0x23]))])
def test_grey_labels_of_few_bits_hold_what_is_stored(depth: int, row: bytes, tmp_path: Path) -> None:
    path = write_png(tmp_path / "label.png", (4, 1), [row], depth=depth, colours=0)
    assert read_8_bit(path).tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize("name", SPECS)
def test_pairs_of_each_layout(name: str, tmp_path: Path) -> None:
    image, label, expected = TREES[name]
    save(Image.new("RGB", (4, 2)), tmp_path / image)
    save(Image.new("L", (4, 2)), tmp_path / label)
    samples = spec(name).pairs(tmp_path, "val")
    assert samples == [(tmp_path / image, tmp_path / label, expected)]


def test_pairs_are_sorted_and_named_apart(tmp_path: Path) -> None:
    for drive in ("12", "7"):
        for part in TREES["idd"][:2]:
            save(Image.new("L", (4, 2)), tmp_path / part.replace("/7/", f"/{drive}/"))
    names = [sample.name for sample in spec("idd").pairs(tmp_path, "val")]
    assert names == ["12_000001_leftImg8bit", "7_000001_leftImg8bit"]


def test_mistakes_are_told_with_the_remedy(tmp_path: Path) -> None:
    bdd100k = spec("bdd100k")
    with pytest.raises(UsageError, match=r": no folder bdd-100k or bdd100k or bdd; .*--data_root.*datasets\.demo"):
        bdd100k.pairs(tmp_path, "val")
    save(Image.new("RGB", (4, 2)), tmp_path / TREES["bdd100k"][0])
    with pytest.raises(UsageError, match=r"no image found.*images/train"):
        bdd100k.pairs(tmp_path, "train")
    with pytest.raises(UsageError, match=r"has no label .*0a-4d_train_id\.png \(1 of 1"):
        bdd100k.pairs(tmp_path, "val")
    with pytest.raises(UsageError, match="choose one of train, val"):
        bdd100k.pairs(tmp_path, "test")
    with pytest.raises(UsageError, match="cityscapes, gtav, synthia, bdd100k, mapillary, idd"):
        spec("gta")
    with pytest.raises(UsageError, match="choose from ids, colour"):
        spec("gtav", gtav_labels="color")


@pytest.mark.parametrize("name", ["cityscapes", "bdd100k", "mapillary", "idd", "kitti", "camvid", "acdc"])
def test_indices_go_through_the_table(name: str, tmp_path: Path) -> None:
    row = spec(name)
    stored = np.array([[*range(row.ids), labels.IGNORE]], dtype=np.uint8)
    path = save(Image.fromarray(stored), tmp_path / "label.png")
    assert (row.decode(path) == SPECS[name].table[stored]).all()
    assert (row.table[row.ids :] == labels.IGNORE).all()  # every id that counts is one of them
    path = save(Image.fromarray(stored + np.uint8(1)), tmp_path / "label.png")  # 255 becomes 0, the last id is too high
    with pytest.raises(UsageError, match=f"label.png: holds the ids {row.ids}, but {name} has 0 to {row.ids - 1} and"):
        row.decode(path)


def test_gtav_as_palette_and_as_colours(tmp_path: Path) -> None:
    stored = np.arange(35, dtype=np.uint8).reshape(5, 7)
    palette = Image.fromarray(stored)
    palette.putpalette(labels.GTAV_PALETTE.tobytes())
    path = save(palette, tmp_path / "palette.png")
    by_id, by_colour = spec("gtav"), spec("gtav", gtav_labels="colour")
    assert by_id.decode(path).ravel()[[17, 18, 26, 34]].tolist() == [5, 255, 13, 255]
    assert by_colour.decode(path).ravel()[[17, 18, 26, 34]].tolist() == [5, 5, 13, 13]
    for mode in ("RGB", "RGBA"):
        coloured = save(palette.convert(mode), tmp_path / f"{mode}.png")
        assert (by_colour.decode(coloured) == by_colour.decode(path)).all()
    unknown = save(Image.new("RGB", (3, 3), (1, 2, 3)), tmp_path / "unknown.png")
    assert (by_id.decode(unknown) == labels.IGNORE).all()


def test_synthia_reads_the_low_byte_of_channel_0(tmp_path: Path) -> None:
    channels = np.zeros((2, 23, 3), dtype=np.uint16)
    channels[0, :, 0] = np.arange(23)
    channels[1, :, 0], channels[..., 1] = 300, 1000  # beyond all classes; instances
    train_ids = spec("synthia").decode(write_png_16(tmp_path / "label.png", channels))
    assert train_ids.dtype == np.uint8
    assert train_ids[0].tolist() == labels.SYNTHIA[:23].tolist()
    assert (train_ids[1] == labels.IGNORE).all()


def test_wrong_labels_are_refused(tmp_path: Path) -> None:
    grey = save(Image.new("L", (4, 2)), tmp_path / "grey.png")
    with pytest.raises(UsageError, match=r"grey\.png.*expected the 16-bit"):
        spec("synthia").decode(grey)
    colours = save(Image.new("RGB", (4, 2)), tmp_path / "colours.png")
    with pytest.raises(UsageError, match=r"colours\.png: is a colour image where cityscapes"):
        spec("cityscapes").decode(colours)
    deep = save(Image.fromarray(np.zeros((2, 4), dtype=np.uint16)), tmp_path / "deep.png")
    with pytest.raises(UsageError, match=r"deep\.png.*expected an 8-bit"):
        spec("cityscapes").decode(deep)
    broken = tmp_path / "broken.png"
    broken.write_bytes(grey.read_bytes()[:40])
    for name in ("cityscapes", "synthia"):
        with pytest.raises(UsageError, match=r"broken\.png: unreadable label"):
            spec(name).decode(broken)
        with pytest.raises(UsageError, match=r"absent\.png: unreadable label"):
            spec(name).decode(tmp_path / "absent.png")


def test_specs_and_labels_need_no_torch() -> None:
    code = "import sys, datasets.labels, datasets.specs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
