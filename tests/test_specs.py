"""How labels of each data set are decoded, and which files are refused."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets import labels
from datasets.decoding import read_numbers
from datasets.registry import SPECS, spec
from utils.errors import UsageError


def write_png(path: Path, size: tuple[int, int], rows: list[bytes], *, depth: int, colours: int) -> Path:
    """A PNG of modes that Pillow cannot write."""
    rows = b"".join(b"\0" + row for row in rows)
    header = struct.pack(">IIBBBBB", *size, depth, colours, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    data = b"".join(struct.pack(">I", len(c)) + t + c + struct.pack(">I", zlib.crc32(t + c)) for t, c in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    return path


@pytest.mark.parametrize(("depth", "row"), [(2, bytes([0b00011011])), (4, bytes([0x01, 0x23]))])
def test_grey_labels_of_few_bits_hold_what_is_stored(depth: int, row: bytes, tmp_path: Path) -> None:
    path = write_png(tmp_path / "label.png", (4, 1), [row], depth=depth, colours=0)
    assert read_numbers(path)[0].tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize("name", [name for name in SPECS if not SPECS[name].sixteen_bit])
def test_every_id_goes_through_the_table_or_is_refused(name: str, tmp_path: Path) -> None:
    dataset = spec(name)
    stored = np.array([[*dataset.ids, labels.IGNORE]], dtype=np.uint8)
    path = tmp_path / "label.png"
    Image.fromarray(stored).save(path)
    assert (dataset.decode(path) == dataset.table[stored]).all()
    assert (dataset.table[len(dataset.ids) :] == labels.IGNORE).all()  # every id that counts is one of them
    for unknown in (len(dataset.ids), 254):
        Image.fromarray(np.full((3, 3), unknown, np.uint8)).save(path)
        message = rf"label.png: holds the ids {unknown}, but {name} has 0 to {len(dataset.ids) - 1} and 255: give"
        with pytest.raises(UsageError, match=message):
            dataset.decode(path)


def test_gtav_as_palette_and_as_colours(tmp_path: Path) -> None:
    palette = Image.fromarray(np.arange(35, dtype=np.uint8).reshape(5, 7))
    palette.putpalette(labels.GTAV_PALETTE.tobytes())
    path = tmp_path / "palette.png"
    palette.save(path)
    by_id, by_colour = spec("gtav"), spec("gtav", gtav_labels="colour")
    assert by_id.decode(path).ravel()[[17, 18, 26, 34]].tolist() == [5, 255, 13, 255]
    assert by_colour.decode(path).ravel()[[17, 18, 26, 34]].tolist() == [5, 5, 13, 13]
    for mode in ("RGB", "RGBA"):
        palette.convert(mode).save(tmp_path / f"{mode}.png")
        assert (by_colour.decode(tmp_path / f"{mode}.png") == by_colour.decode(path)).all()
    Image.new("RGB", (3, 3), (70, 70, 70)).save(tmp_path / "building.png")  # a grey colour is no id
    assert (by_id.decode(tmp_path / "building.png") == 2).all()
    Image.new("RGB", (3, 3), (1, 2, 3)).save(tmp_path / "unknown.png")
    assert (by_id.decode(tmp_path / "unknown.png") == labels.IGNORE).all()


def test_synthia_reads_channel_0(tmp_path: Path) -> None:
    pixels = np.full((1, 24, 3), 1000, dtype=">u2")  # instances
    pixels[..., 0] = [*range(23), 300]  # the last id is beyond all classes
    path = write_png(tmp_path / "label.png", (24, 1), [pixels.tobytes()], depth=16, colours=2)
    train_ids = spec("synthia").decode(path)
    assert train_ids.dtype == np.uint8 and train_ids.tolist() == [[*labels.SYNTHIA[:23].tolist(), labels.IGNORE]]


def test_wrong_labels_are_refused(tmp_path: Path) -> None:
    Image.new("L", (4, 2)).save(tmp_path / "grey.png")
    Image.new("RGB", (4, 2), (1, 2, 3)).save(tmp_path / "colours.png")
    Image.fromarray(np.full((2, 4), 26001, dtype=np.uint16)).save(tmp_path / "deep.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "grey.png").read_bytes()[:40])
    for name, file, message in (
        ("synthia", "grey.png", r"grey\.png.*expected the 16-bit"),
        ("cityscapes", "colours.png", r"colours\.png: is a colour image where cityscapes"),
        ("cityscapes", "deep.png", r"deep\.png.*numbers from 26001 to 26001, expected integers from 0 to 255"),
        ("cityscapes", "broken.png", r"broken\.png: unreadable label"),
        ("synthia", "broken.png", r"broken\.png: unreadable label"),
        ("synthia", "absent.png", r"absent\.png: unreadable label"),
    ):
        with pytest.raises(UsageError, match=message):
            spec(name).decode(tmp_path / file)
