"""Labels and images as programs and cameras store them: the stored integers, the right colours, or a refusal."""

import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image
from test_specs import write_png

from datasets.check import check
from datasets.decoding import read_image
from datasets.images import ImageFolder, LabelledImages
from datasets.labels import IGNORE, PALETTE
from datasets.registry import spec
from support.own_data import SIZE, write_classes, write_own
from utils.errors import UsageError

TRUTH = np.repeat([[0, 8, 10, 0]], 12, 0).repeat(9, 1).astype(np.uint8)
SMALL = np.minimum(TRUTH, 2)  # 0 and 2


def decoded(tmp_path: Path, name: str, save: Callable[[Path], object], classes: str = "") -> np.ndarray:
    """The class ids of a label that ``save`` writes under a name."""
    home = write_own(tmp_path, ["a"], label=name)
    if classes:
        write_classes(home, classes)
    save(home / "labels" / f"a{name}")
    return spec(f"custom:{home}").decode(home / "labels" / f"a{name}")


def with_palette(stored: np.ndarray, colours: np.ndarray) -> Image.Image:
    picture = Image.fromarray(stored)
    picture.putpalette(colours.astype(np.uint8).tobytes())
    return picture


# Palettes


def own_order(truth: np.ndarray, seen: list[int]) -> Image.Image:
    """In the colours of Cityscapes, but with indices in the order of ``seen``."""
    return with_palette(np.vectorize(seen.index)(truth).astype(np.uint8), PALETTE[seen])


@pytest.mark.parametrize("suffix", [".png", ".gif", ".bmp", ".tif"])
@pytest.mark.parametrize(
    "picture",
    [
        own_order(TRUTH, [0, 8, 10]),
        own_order(TRUTH, [10, 0, 8, 13]),
        own_order(TRUTH, [*range(19)]),
        Image.fromarray(PALETTE[TRUTH]).quantize(16),
    ],
)
def test_colours_of_the_classes_decide(picture: Image.Image, suffix: str, tmp_path: Path) -> None:
    np.testing.assert_array_equal(decoded(tmp_path, suffix, picture.save), TRUTH)


def test_colours_of_no_class_contradict_nothing(tmp_path: Path) -> None:
    picture = with_palette(TRUTH, PALETTE[::-1] ^ 1)
    np.testing.assert_array_equal(decoded(tmp_path, ".png", picture.save), TRUTH)


def test_void_is_an_index_or_a_colour_of_no_class(tmp_path: Path) -> None:
    order = np.vstack([PALETTE[[8, 0]], np.zeros((254, 3))])
    void = with_palette(np.where(TRUTH == 10, IGNORE, TRUTH == 0).astype(np.uint8), order)
    np.testing.assert_array_equal(decoded(tmp_path, ".png", void.save), np.where(TRUTH == 10, IGNORE, TRUTH))
    black = with_palette(np.where(TRUTH == 10, 2, TRUTH == 0).astype(np.uint8), order)
    with pytest.raises(UsageError, match=r"a.png: its palette has the classes in another order, and .*\[0, 0, 0\]"):
        decoded(tmp_path, ".png", black.save)


def test_ignored_pixels_stay_ignored(tmp_path: Path) -> None:
    """Palettes end with black, which may be the colour of a class."""
    picture = with_palette(np.array([[1, 0, IGNORE]], np.uint8), np.vstack([[[9, 9, 9]], np.zeros((255, 3))]))
    classes = 'classes: {back: "0,0,0", thing: "9,9,9"}'
    assert decoded(tmp_path, ".png", picture.save, classes).tolist() == [[0, 1, IGNORE]]


def test_classes_that_ids_join_on_purpose_stay(tmp_path: Path) -> None:
    """Void and riders have the colours of Cityscapes, but ``ids`` gives them another meaning."""
    colours = np.zeros((30, 3), np.uint8)
    colours[[7, 18, 24, 25]] = PALETTE[[0, 5, 11, 12]]
    stored = np.array([[7, 18, 24, 25]], np.uint8)
    classes = "ids: {7: road, 17: pole, 18: ignore, 24: person, 25: person}"
    label = decoded(tmp_path, ".png", with_palette(stored, colours).save, classes)
    assert label.tolist() == [[0, IGNORE, 11, 11]]


def test_palettes_that_disagree_are_an_error(tmp_path: Path) -> None:
    """Own classes without colours: no file alone shows which one is wrong."""
    home = write_classes(write_own(tmp_path), "classes: [a, b, c]")
    colours = np.arange(256 * 3).reshape(256, 3) % 251
    for name in "abcde":
        stored = np.asarray(Image.open(home / "labels" / f"{name}.png"))
        with_palette(stored, colours if name != "d" else colours[[1, 0, *range(2, 256)]]).save(
            home / "labels" / f"{name}.png"
        )
    (finding,) = check(f"custom:{home}").findings
    assert (finding.code, finding.severity, Path(finding.file).name) == ("other_palette", "error", "d.png")
    assert "(0 is (3, 4, 5), not (0, 1, 2))" in finding.message


# Integers


def pgm(truth: np.ndarray, highest: int, *, plain: bool = False) -> Callable[[Path], object]:
    head = b"P%d %d %d %d\n" % (2 if plain else 5, *truth.shape[::-1], highest)
    form = ">u2" if highest > 255 else np.uint8
    data = " ".join(map(str, truth.ravel())).encode() if plain else truth.astype(form).tobytes()
    return lambda path: path.write_bytes(head + data)


def tiff_of_4_bits(truth: np.ndarray, *, packed: bool, white: int = 1) -> Callable[[Path], object]:
    """A grey TIFF, which Pillow cannot write; 0 is black if ``white`` is 1."""
    data = (truth[:, 0::2] << 4 | truth[:, 1::2]).astype(np.uint8).tobytes()
    data = zlib.compress(data) if packed else data
    height, width = truth.shape
    tags = [(256, width), (257, height), (258, 4), (259, 8 if packed else 1), (262, white), (273, 200), (277, 1)]
    tags += [(278, height), (279, len(data))]
    fields = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    file = b"II*\0" + struct.pack("<IH", 8, len(tags)) + fields + bytes(4)
    return lambda path: path.write_bytes(file.ljust(200, b"\0") + data)


def as_array(truth: np.ndarray) -> Callable[[Path], object]:
    return Image.fromarray(truth).save


def as_mode(truth: np.ndarray, mode: str, alpha: int = 255) -> Callable[[Path], object]:
    bands = [Image.fromarray(truth)] * len(mode.rstrip("A"))
    return Image.merge(mode, [*bands, *[Image.new("L", bands[0].size, alpha)] * mode.count("A")]).save


SAVED = {
    "RGB": (".png", as_mode(TRUTH, "RGB"), TRUTH),
    "RGBA": (".png", as_mode(TRUTH, "RGBA"), TRUTH),
    "grey with alpha": (".png", as_mode(TRUTH, "LA"), TRUTH),
    "a GIF, whose greys are a palette": (".gif", as_array(TRUTH), TRUTH),
    "16 bits": (".png", as_array(TRUTH.astype(np.uint16)), TRUTH),
    "32 bits": (".tif", as_array(TRUTH.astype(np.int32)), TRUTH),
    "floats": (".tif", as_array(TRUTH.astype(np.float32)), TRUTH),
    "1 bit": (".png", as_array(TRUTH > 0), TRUTH > 0),
    "4 bits in a TIFF": (".tif", tiff_of_4_bits(TRUTH, packed=False), TRUTH),
    "4 packed bits in a TIFF": (".tif", tiff_of_4_bits(TRUTH, packed=True), TRUTH),
    "a PPM of equal channels": (
        ".ppm", lambda path: path.write_bytes(b"P6 36 12 10\n" + TRUTH[..., None].repeat(3, 2).tobytes()), TRUTH),
} | {
    f"PGM up to {highest}, {plain}": (".pgm", pgm(truth, highest, plain=plain), truth)
    for truth, highest in ((TRUTH // 8, 1), (SMALL, 2), (TRUTH, 10), (TRUTH, 255), (TRUTH, 999), (TRUTH, 65535))
    for plain in (False, True)
}  # fmt: skip


@pytest.mark.parametrize("case", SAVED)
def test_stored_integers(case: str, tmp_path: Path) -> None:
    suffix, save, truth = SAVED[case]
    np.testing.assert_array_equal(decoded(tmp_path, suffix, save), truth)


REFUSED = {
    "300": (".png", as_array(np.full((4, 4), 300, np.uint16)), r"numbers from 300 to 300, expected integers from 0 to"),
    "-1": (".tif", as_array(np.full((4, 4), -1, np.int32)), r"holds numbers from -1 to -1, expected integers"),
    "0.5": (".tif", as_array(np.full((4, 4), 0.5, np.float32)), r"holds numbers from 0.5 to 0.5, expected integers"),
    "NaN": (".tif", as_array(np.full((4, 4), np.nan, np.float32)), r"holds numbers from nan to nan, expected integers"),
    "transparent": (".png", as_mode(TRUTH, "RGBA", 0), r"transparent pixels, expected 8 bits in one channel"),
    "white is 0": (".tif", tiff_of_4_bits(TRUTH, packed=False, white=0), r"stored as L;4I, expected 8 bits in one"),
    "CMYK": (".tif", Image.new("CMYK", (4, 4)).save, r"stored as CMYK, expected 8 bits in one channel"),
    "16-bit channels": (
        ".png", lambda path: write_png(path, (1, 1), [bytes([0, 7] * 3)], depth=16, colours=2), r"stored as RGB;16B"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_labels_with_a_choice_are_refused(case: str, tmp_path: Path) -> None:
    suffix, save, message = REFUSED[case]
    with pytest.raises(UsageError, match=rf"a{suffix}: unreadable label \(.*{message}.*convert the file again$"):
        decoded(tmp_path, suffix, save)


@pytest.mark.parametrize("suffix", [".jpg", ".npy"])
def test_a_label_of_another_kind_is_named(suffix: str, tmp_path: Path) -> None:
    home = write_own(tmp_path, ["a"])
    (home / "labels" / "a.png").rename(home / "labels" / f"a{suffix}")
    with pytest.raises(UsageError, match=rf"has no label .*a.png .*{home}/labels/a{suffix} is no mask"):
        spec(f"custom:{home}").pairs(home, "val")


# Classes that no label holds


@pytest.mark.parametrize(
    ("text", "ids", "message"),
    [
        (
            "classes: [back, thing]",
            (0, 255),
            r"show thing in .* if it means thing, list all `ids`, with `255: thing`",
        ),
        ("classes: [back, thing]\nids: {0: back, 255: thing}", (0, 255), ""),
        ("classes: [a, b, c, d]", (0, 1, 2), "not show d in any label"),
        ("ids: {0: road, 1: sky}", (0, 255), "not show sky in any label"),
        ("ids: {0: road, 1: sky, 2: sky}", (0, 1, 2), ""),  # of the 19 classes, few are expected
    ],
)
def test_classes_that_no_label_holds(text: str, ids: tuple[int, ...], message: str, tmp_path: Path) -> None:
    home = write_classes(write_own(tmp_path, ids=ids), text)
    findings = check(f"custom:{home}").findings
    assert [finding.code for finding in findings] == (["unused_class"] if message else [])
    assert all(re.search(message, f"{finding.message}: {finding.fix}") for finding in findings)


# Images


def rgb_16(numbers: np.ndarray, *, tiff: bool = False, planar: bool = False) -> Callable[[Path], object]:
    """A PNG or an uncompressed TIFF of 16 bits per channel, which Pillow cannot write."""
    height, width = numbers.shape[:2]
    if not tiff:
        rows = [row.astype(">u2").tobytes() for row in numbers]
        return lambda path: write_png(path, (width, height), rows, depth=16, colours=2)
    pixels = np.moveaxis(numbers, -1, 0) if planar else numbers
    data, strips = pixels.astype("<u2").tobytes(), 3 if planar else 1
    size, bits, places, sizes = len(data) // strips, 200, 206, 218
    tags = [(256, 1, width), (257, 1, height), (258, 3, bits), (259, 1, 1), (262, 1, 2)]
    tags += [(273, strips, places if planar else 230), (277, 1, 3), (278, 1, height)]
    tags += [(279, strips, sizes if planar else size), (284, 1, 2 if planar else 1)]
    fields = b"".join(struct.pack("<HHII", tag, 3 if tag == 258 else 4, *entry) for tag, *entry in tags)
    head = (b"II*\0" + struct.pack("<IH", 8, len(tags)) + fields + bytes(4)).ljust(bits, b"\0")
    head += struct.pack("<3H3I3I", 16, 16, 16, *(230 + size * strip for strip in range(3)), size, size, size)
    return lambda path: path.write_bytes(head + data)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_of_a_colour_image(suffix: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 3))
    path = tmp_path / f"a{suffix}"
    rgb_16(pixels * 257, tiff=suffix == ".tif")(path)
    np.testing.assert_array_equal(read_image(path), pixels)
    for white in (4095, 1023, 255):
        rgb_16(pixels * white // 255, tiff=suffix == ".tif")(path)
        with pytest.raises(UsageError, match=rf"a{suffix}: holds numbers up to 4095 in 16 bits, whose .*: save the im"):
            read_image(path)
    rgb_16(pixels * 257, tiff=True, planar=True)(tmp_path / "planar.tif")
    with pytest.raises(UsageError, match=r"planar.tif: holds 16 bits in separate planes, which Pillow misreads: save"):
        read_image(tmp_path / "planar.tif")


def test_an_enormous_image_is_too_large(tmp_path: Path) -> None:
    """As the check, training, evaluation and ``--images`` read it."""
    home = write_own(tmp_path, ["a"])
    write_png(home / "images" / "a.png", (18_000, 10_000), [b""], depth=1, colours=0)
    message = r"a.png: image too large, with more than 179 million pixels: cut it into tiles"
    for images in (LabelledImages(spec(f"custom:{home}"), home, "val"), ImageFolder(home / "images")):
        with pytest.raises(UsageError, match=message):
            _ = images[0]


def turned(home: Path, orientation: int, *, label_upright: bool) -> np.ndarray:
    """A photograph that was taken with the camera turned; returns it as its owner sees it."""
    undo = {3: 2, 6: 1, 8: 3}[orientation]  # quarter turns to the left that make it upright, from the right
    scene = np.asarray(Image.open(home / "images" / "a.png"))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(np.rot90(scene, undo)).save(home / "images" / "a.png", exif=exif)
    if not label_upright:
        label = np.asarray(Image.open(home / "labels" / "a.png"))
        Image.fromarray(np.rot90(label, undo)).save(home / "labels" / "a.png")
    return scene


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_turned_photographs_are_read_alike(orientation: int, tmp_path: Path) -> None:
    home = write_own(tmp_path, ["a"])
    scene = turned(home, orientation, label_upright=True)
    images = LabelledImages(spec(f"custom:{home}"), home, "val")
    np.testing.assert_array_equal(images[0][0], scene)
    np.testing.assert_array_equal(ImageFolder(home / "images")[0], scene)
    assert images.size(0) == SIZE
    codes = [finding.code for finding in check(f"custom:{home}").findings]
    assert codes == (["turned"] if orientation == 3 else [])  # nothing shows whether the label is upside down


@pytest.mark.parametrize("stored", [(3, 1, b"\0"), (3, 1, b"\x09"), (2, 2, b"6"), (7, 1, b"\6")])
def test_an_orientation_that_means_nothing(stored: tuple[int, int, bytes], tmp_path: Path) -> None:
    """0, 9, a text and bytes (types 3, 2 and 7)."""
    home = write_own(tmp_path, ["a"])
    form, count, value = stored
    exif = b"Exif\0\0II*\0" + struct.pack("<IHHHI4s4x", 8, 1, ExifTags.Base.Orientation, form, count, value)
    Image.open(home / "images" / "a.png").save(home / "images" / "a.png", exif=exif)
    images = LabelledImages(spec(f"custom:{home}"), home, "val")
    assert images[0][0].size == images.size(0) == SIZE
    assert not check(f"custom:{home}").findings


@pytest.mark.parametrize("mode", ["RGB", "L"])  # Pillow maps grey ones into memory
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_pillow_turns_a_tiff_by_itself(mode: str, compression: str, tmp_path: Path) -> None:
    home = write_own(tmp_path, ["a"], suffix=".tif", label=".tif")
    scene, label = (Image.open(home / folder / "a.tif").copy() for folder in ("images", "labels"))
    for folder, upright in (("images", scene.convert(mode)), ("labels", label)):
        turned = upright.transpose(Image.Transpose.ROTATE_90)
        turned.save(home / folder / "a.tif", tiffinfo={ExifTags.Base.Orientation: 6}, compression=compression)
    images = LabelledImages(spec(f"custom:{home}"), home, "val")
    np.testing.assert_array_equal(images[0][0], scene.convert(mode).convert("RGB"))
    np.testing.assert_array_equal(images[0][1], label)
    assert images.size(0) == SIZE


def test_a_label_of_the_stored_pixels_does_not_fit(tmp_path: Path) -> None:
    home = write_own(tmp_path, ["a"])
    turned(home, 6, label_upright=False)
    with pytest.raises(UsageError, match=r"is 64x40 but its label .* is 40x64: turn the pixels of one, and remove"):
        _ = LabelledImages(spec(f"custom:{home}"), home, "val")[0]
    assert [finding.code for finding in check(f"custom:{home}").findings] == ["size_mismatch"]
