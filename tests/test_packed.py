"""Packed copies change nothing, and are refused when they are stale."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datasets import packed
from datasets.demo import write_demo
from datasets.images import LabelledImages
from datasets.registry import spec
from datasets.sampling.loaders import Domains, eval_loader
from datasets.sampling.requests import Request
from datasets.transforms import Augmentation
from support.prepared_data import FORMS, contents, run
from utils.errors import UsageError

NAMES = ["gtav", "synthia", "mapillary"]


def drawn(root: Path) -> list[torch.Tensor]:
    """Training samples and scored images."""
    sources = [(spec(name), spec(name).pairs(root, "train")) for name in NAMES]
    copies = {image: copy for source in sources for image, copy in packed.find(root, *source).items()}
    for image in copies:  # by what remains if the originals' pixels are gone
        image.write_bytes(b"")
    domains = Domains(sources, Augmentation(crop_size=48, rotate=5.0, color_aug=0.5, gblur=True), seed=3, copies=copies)
    tensors = [tensor for n in range(30) for tensor in domains[Request(n, n % 3, 0, hard=n % 3 == 0, meta_test=False)]]
    for name in NAMES:
        images = LabelledImages(spec(name), root, "val")
        assert len(images.copies) == (2 if copies else 0)
        tensors += [x for item in eval_loader(images, crop=48 if name == "mapillary" else 0) for x in item[:2]]
    return tensors


@pytest.mark.parametrize("form", FORMS)
def test_samples_and_scored_images_are_the_same(form: str, root: Path) -> None:
    plain = drawn(root)
    run(root, "--packed", form)
    assert all(torch.equal(ours, expected) for ours, expected in zip(drawn(root), plain, strict=True))
    assert (root / "GTAV").exists() and not next((root / "GTAV").rglob("train/**/*.png")).stat().st_size


def test_a_folder_of_links_is_a_data_root(root: Path, tmp_path: Path) -> None:
    before, home = contents(root), tmp_path / "fast"
    home.mkdir()
    (home / "GTAV").symlink_to(root / "GTAV")
    run(home, "--packed", "raw")
    assert contents(root) == before and len(LabelledImages(spec("gtav"), home, "train").copies) == 4


def change_image(root: Path) -> None:
    path = spec("gtav").pairs(root, "train")[1].image
    with Image.open(path) as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)


def change_label(root: Path) -> None:
    os.utime(spec("gtav").pairs(root, "train")[0].label)


def remove_copy(root: Path) -> None:
    next(packed.home(root, spec("gtav")).rglob("train/**/*.tif")).unlink()


@pytest.mark.parametrize("fault", [change_image, change_label, remove_copy])
def test_stale_copies_are_refused_until_they_are_made_anew(fault: Callable[[Path], None], root: Path) -> None:
    run(root, "--packed", "raw", "--datasets", "gtav")
    fault(root)
    with pytest.raises(UsageError, match=r"^[^\n]*pack again[^\n]*$"):
        LabelledImages(spec("gtav"), root, "train")
    run(root, "--packed", "raw", "--datasets", "gtav")
    images = LabelledImages(spec("gtav"), root, "train")
    for sample, (image, _, _) in zip(images.samples, images, strict=True):
        assert (np.asarray(image) == np.asarray(Image.open(sample.image))).all()


def test_broken_files_are_refused(root: Path) -> None:
    run(root, "--packed", "raw", "--datasets", "gtav")
    images = LabelledImages(spec("gtav"), root, "train")
    copy, index = images.copies[images.samples[0].image], packed.home(root, spec("gtav")) / packed.INDEX
    copy.write_bytes(copy.read_bytes()[:-50])
    with pytest.raises(UsageError, match="unreadable copy"):
        images[0]
    for content in ("{", "[]", '{"pairs": []}', '{"pairs": {"images/a.png": 5}}', "[" * 99_999):
        index.write_text(content)
        with pytest.raises(UsageError, match=r"^[^\n]*index.json: cannot be used[^\n]*pack again$"):
            LabelledImages(spec("gtav"), root, "train")


def test_copies_for_another_reading_of_labels_are_not_used(root: Path) -> None:
    run(root, "--packed", "raw", "--datasets", "gtav", "--gtav_labels", "colour")
    assert len(LabelledImages(spec("gtav", gtav_labels="colour"), root, "train").copies) == 4
    assert not LabelledImages(spec("gtav"), root, "train").copies


def test_an_odd_image_is_packed_as_it_is_read(tmp_path: Path) -> None:
    """Grey, and upside down by its camera."""
    write_demo(tmp_path, domains=["bdd100k"], train=1, val=1, size=(64, 96), workers=1)
    (sample,) = spec("bdd100k").pairs(tmp_path, "train")
    with Image.open(sample.image) as image:
        exif = image.getexif()
        exif[0x0112] = 3
        image.convert("L").save(sample.image, exif=exif)
    plain = np.asarray(LabelledImages(spec("bdd100k"), tmp_path, "train")[0][0])
    run(tmp_path, "--packed", "raw")
    assert (np.asarray(LabelledImages(spec("bdd100k"), tmp_path, "train")[0][0]) == plain).all()
