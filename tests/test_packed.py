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


def samples_of(root: Path, names: list[str], *, is_packed: bool) -> list[tuple[torch.Tensor, torch.Tensor]]:
    rows = [spec(name) for name in names]
    sources = [(row, row.pairs(root, "train")) for row in rows]
    copies = {image: copy for row, samples in sources for image, copy in packed.find(root, row, samples).items()}
    assert len(copies) == (sum(len(samples) for _, samples in sources) if is_packed else 0)
    augmentation = Augmentation(crop_size=48, rotate=5.0, color_aug=0.5, gblur=True)
    domains = Domains(sources, augmentation, seed=3, copies=copies)
    if is_packed:  # by what remains if the originals' pixels are gone
        for image in copies:
            image.unlink()
    return [domains[Request(n, n % len(rows), 0, hard=n % 3 == 0, meta_test=False)] for n in range(30)]


@pytest.mark.parametrize("form", FORMS)
def test_training_samples_are_the_same(form: str, root: Path) -> None:
    names = ["gtav", "synthia", "mapillary"]
    plain = samples_of(root, names, is_packed=False)
    run(root, "--packed", form)
    for expected, found in zip(plain, samples_of(root, names, is_packed=True), strict=True):
        assert all(torch.equal(*pair) for pair in zip(expected, found, strict=True))


@pytest.mark.parametrize("form", FORMS)
def test_evaluated_images_are_the_same(form: str, root: Path) -> None:
    def batches(name: str) -> list[tuple]:
        return list(eval_loader(LabelledImages(spec(name), root, "val"), crop=48 if name == "mapillary" else 0))

    names = ["gtav", "synthia", "mapillary"]
    plain = [batches(name) for name in names]
    run(root, "--packed", form)
    for name, expected in zip(names, plain, strict=True):
        assert len(LabelledImages(spec(name), root, "val").copies) == 2
        for (image, label, stem), (image_, label_, stem_) in zip(expected, batches(name), strict=True):
            assert torch.equal(image, image_) and torch.equal(label, label_) and stem == stem_


def test_out_is_a_data_root_of_links_and_copies(root: Path, tmp_path: Path) -> None:
    before, home = contents(root), tmp_path / "fast"
    run(root, "--packed", "raw", "--out", home)
    run(root, "--packed", "raw", "--out", home)
    assert contents(root) == before and (home / "GTAV").is_symlink()
    assert len(LabelledImages(spec("gtav"), home, "train").copies) == 4


def change_image(root: Path) -> None:
    path = spec("gtav").pairs(root, "train")[1].image
    with Image.open(path) as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)


def change_label(root: Path) -> None:
    os.utime(spec("gtav").pairs(root, "train")[0].label)


def remove_copy(root: Path) -> None:
    next(packed.home(root, spec("gtav")).rglob("train/**/*.tif")).unlink()


def break_index(root: Path) -> None:
    (packed.home(root, spec("gtav")) / packed.INDEX).write_text("{")


def other_version(root: Path) -> None:
    path = packed.home(root, spec("gtav")) / packed.INDEX
    path.write_text(path.read_text().replace('"version": 1', '"version": 0'))


@pytest.mark.parametrize("fault", [change_image, change_label, remove_copy, break_index, other_version])
def test_stale_copies_are_refused_until_they_are_made_anew(fault: Callable[[Path], None], root: Path) -> None:
    run(root, "--packed", "raw")
    fault(root)
    with pytest.raises(UsageError) as caught:
        LabelledImages(spec("gtav"), root, "train")
    assert "pack" in str(caught.value) and "\n" not in str(caught.value)
    if fault in (break_index, other_version):
        return
    run(root, "--packed", "raw")
    images = LabelledImages(spec("gtav"), root, "train")
    for sample, (image, _, _) in zip(images.samples, images, strict=True):
        assert (np.asarray(image) == np.asarray(Image.open(sample.image))).all()


def test_copies_for_another_reading_of_labels_are_not_used(root: Path) -> None:
    run(root, "--packed", "raw", "--datasets", "gtav", "--gtav_labels", "colour")
    assert len(LabelledImages(spec("gtav", gtav_labels="colour"), root, "train").copies) == 4
    assert not LabelledImages(spec("gtav"), root, "train").copies


def test_a_broken_copy_is_told(root: Path) -> None:
    run(root, "--packed", "raw", "--datasets", "gtav")
    images = LabelledImages(spec("gtav"), root, "train")
    copy = images.copies[images.samples[0].image]
    copy.write_bytes(copy.read_bytes()[:-50])
    with pytest.raises(UsageError, match="unreadable copy"):
        images[0]


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
