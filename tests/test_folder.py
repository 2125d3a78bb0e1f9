"""eval.py --images: every image of a folder is labelled once, whatever else lies there."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import eval as evaluation
from checkpoints.run_files import load_checkpoint, write_checkpoint
from datasets.images import ImageFolder
from datasets.labels import CITYSCAPES, STANDARD
from support.snapshots import write_snapshot
from utils.errors import UsageError

pytestmark = pytest.mark.usefixtures("thin_resnet")

KINDS = ("colours", "overlay", "train_ids", "cityscapes_ids")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("folder")
    write_snapshot(home / "memory.pth", memory=True)
    write_snapshot(home / "plain.pth", memory=False)
    return home


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with five images, one of them taken with the camera turned, a broken image and three other files."""
    root = tmp_path / "my pictures"
    (root / "deep" / "er").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, size in (("a.jpg", (40, 70)), ("a.png", (37, 53)), ("deep/er/b.PNG", (1, 1)), ("deep/c.bmp", (300, 5))):
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(root / name)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(rng.integers(0, 256, (30, 60, 3), dtype=np.uint8)).save(root / "turned.jpg", exif=turned)
    (root / "broken.jpg").write_bytes((root / "a.jpg").read_bytes()[:200])
    for name in ("._a.jpg", "__MACOSX/b.jpg", "deep/.ipynb_checkpoints/c-checkpoint.png"):  # of the system: never read
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes((root / "a.jpg").read_bytes())
    for name in ("notes.txt", "deep/film.mp4", "Thumbs.db", ".DS_Store"):
        (root / name).write_text("no image")
    return root


# The names of the results: without the suffix, unless two images differ only in it.
IMAGES = {"a.jpg": (70, 40), "a.png": (53, 37), "deep/er/b": (1, 1), "deep/c": (5, 300), "turned": (30, 60)}


def label(home: Path, pictures: Path, *more: str, snapshot: str = "memory.pth") -> None:
    flags = ["--snapshot", str(home / snapshot), "--device", "cpu", "--num_workers", "1", "--images", str(pictures)]
    evaluation.main([*flags, *more])


def test_images_of_a_folder(home: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    label(home, pictures, "--out", str(tmp_path / "out"))
    output = capsys.readouterr()
    assert "skipped: 2 files of other kinds: Thumbs.db, notes.txt" in output.out
    assert "broken.jpg: unreadable image" in output.err and "film.mp4: has no readable frame" in output.err
    assert "images: 5 labelled, 0 finished before, 1 unreadable" in output.out
    folder = tmp_path / "out" / "my pictures"
    for name, size in IMAGES.items():
        colours, overlay, train_ids, ids = (Image.open(folder / kind / f"{name}.png") for kind in KINDS)
        assert colours.size == overlay.size == train_ids.size == ids.size == size
        assert (colours.mode, train_ids.mode, ids.mode) == ("RGB", "L", "L")
        train_ids, ids = np.asarray(train_ids), np.asarray(ids)
        assert train_ids.max() < 19 and np.array_equal(STANDARD.colourise(train_ids), colours)
        assert np.array_equal(CITYSCAPES[ids], train_ids)
    assert len(list(folder.rglob("*.*"))) == 4 * len(IMAGES) + 2  # with the record and the lock


def test_links_are_followed(pictures: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "linked").symlink_to(pictures / "deep")
    (here / "moved.jpg").symlink_to("nowhere")
    images = ImageFolder(here)
    assert [images.stem(index) for index in range(len(images))] == ["linked/c", "linked/er/b", "moved"]
    with pytest.raises(UsageError, match=r"moved.jpg: unreadable image .*No such file"):
        _ = images[2]


def test_a_folder_is_continued(home: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "out"
    label(home, pictures, "--out", str(out), "--limit", "2")
    assert "images: 2 labelled" in capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    assert len(before) == 2 * 4
    missing = out / "my pictures" / "overlay" / "a.png.png"
    missing.unlink()  # as after a kill
    label(home, pictures, "--out", str(out))
    text = capsys.readouterr().out
    assert "images: 4 labelled" in text and "1 finished before" in text and missing.exists()
    unchanged = {path.name for path, time in before.items() if path.stat().st_mtime_ns == time}
    assert unchanged == {"a.jpg.png"}


def test_labels_of_other_weights_stay(home: Path, pictures: Path, tmp_path: Path) -> None:
    out, snapshot = tmp_path / "out", tmp_path / "plain.pth"
    content = load_checkpoint(home / "plain.pth")
    write_checkpoint(snapshot, content)
    label(tmp_path, pictures, "--out", str(out), "--limit", "1", snapshot="plain.pth")
    content["weights"] = {name: w.flip(0) if w.shape[:1] == (19,) else w for name, w in content["weights"].items()}
    write_checkpoint(snapshot, content)  # exchanges the classes, with the same file name and iteration
    with pytest.raises(UsageError, match="holds labels of other images, of other weights"):
        label(tmp_path, pictures, "--out", str(out), snapshot="plain.pth")
    assert {path.name for path in out.rglob("*.png")} == {"a.jpg.png"}
    (out / "my pictures" / "snapshot.json").unlink()
    with pytest.raises(UsageError, match="holds labels of other images"):
        label(tmp_path, pictures, "--out", str(out), snapshot="plain.pth")


def test_results_inside_the_folder_are_no_images(home: Path, pictures: Path, capsys: pytest.CaptureFixture) -> None:
    for _ in range(2):
        label(home, pictures, "--out", str(pictures.parent), "--inference_mode", "pooling", "--scales", "0.5")
    assert "images: 0 labelled, 5 finished before, 1 unreadable" in capsys.readouterr().out
    label(home, pictures / "a.jpg")
    assert (home / "memory" / "whole" / "my pictures" / "colours" / "a.png").exists()


def test_sixteen_bits_are_not_white(tmp_path: Path) -> None:
    Image.fromarray(np.full((2, 3), 40_000, np.uint16)).save(tmp_path / "deep.png")
    assert np.asarray(ImageFolder(tmp_path)[0]).tolist() == [[[40_000 >> 8] * 3] * 3] * 2
