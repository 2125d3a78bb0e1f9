"""Batches of several domains: what is drawn is a function of the request, roles travel with it, errors are told."""

import multiprocessing
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from PIL import Image
from torch._subclasses import FakeTensorMode

from datasets.images import ImageFolder, LabelledImages
from datasets.registry import spec
from datasets.sampling import worker_loader
from datasets.sampling.loaders import Batch, Domains, eval_loader, train_loader
from datasets.sampling.requests import IterationSampler, Request, meta_split
from datasets.sampling.worker_loader import QUEUES, Loader, check_room, one_by_one
from datasets.transforms import Augmentation, Pyramid
from engine.evaluating.image_folder import read_images
from engine.evaluating.scoring import score_reads
from engine.evaluating.target_norm import score
from engine.options.evaluation_options import parse_evaluation
from utils.errors import UsageError

CROP, ROOT = 32, Path(__file__).parent.parent


@pytest.fixture
def domains(root: Path) -> Callable[..., Domains]:
    """Builds the named domains."""

    def build(*names: str, seed: int = 0, rank: int = 0) -> Domains:
        sources = [(spec(name), spec(name).pairs(root, "train")) for name in names]
        return Domains(sources, Augmentation(crop_size=CROP, color_aug=0.5, gblur=True), seed=seed, rank=rank)

    return build


def same(first: Batch, second: Batch) -> bool:
    return all(torch.equal(ours, other) for ours, other in zip(first[:3], second[:3], strict=True))


def test_a_request_is_one_sample(domains: Callable[..., Domains]) -> None:
    request = Request(iteration=3, domain=0, slot=1, hard=False, meta_test=False)
    image, label = domains("gtav", "gtav")[request]
    assert image.shape == (3, CROP, CROP) and label.shape == (CROP, CROP)
    assert image.dtype == label.dtype == torch.uint8
    again = domains("gtav", "gtav")[request._replace(meta_test=True)]
    assert torch.equal(image, again[0]) and torch.equal(label, again[1])
    others = [domains("gtav", "gtav")[request._replace(**{name: value})] for name, value in (
        ("iteration", 4), ("iteration", -3), ("slot", 0), ("domain", 1), ("hard", True),
    )]  # fmt: skip
    others += [domains("gtav", "gtav", seed=1)[request], domains("gtav", "gtav", rank=1)[request]]
    images = [image, *(other[0] for other in others)]
    assert len({tensor.numpy().tobytes() for tensor in images}) == len(images)
    assert torch.equal(label, others[4][1])  # a hard sample differs in its colours only


def test_batches_have_domains_and_slots(domains: Callable[..., Domains]) -> None:
    loader = train_loader(domains("gtav", "mapillary", "gtav"), batch_size=2, start=-1, stop=1, meta=True)
    assert len(loader) == 2
    batch = next(iter(loader))
    assert batch.images.shape == (3, 2, 3, CROP, CROP) and batch.labels.shape == (3, 2, CROP, CROP)
    assert batch.meta_test.tolist() == meta_split(3, 0, -1)
    picked = batch.pool(batch.meta_test.tolist())
    assert torch.equal(picked.images, batch.images[batch.meta_test].reshape(-1, 3, CROP, CROP))
    assert picked.labels.shape[0] == picked.images.shape[0] == 2 * sum(batch.meta_test) and picked.meta_test.all()
    assert torch.equal(batch.pool().labels, batch.labels.flatten(0, 1))
    ready = batch.ready("cpu")
    assert ready.images.dtype == torch.float32 and ready.labels.dtype == torch.int64
    assert ready.images.abs().max() < 3 and torch.equal(ready.labels, batch.labels.long())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_sees_what_the_uninterrupted_one_sees(domains: Callable[..., Domains], workers: int) -> None:
    options = {"batch_size": 2, "stop": 4, "meta": True, "meta_aug": "role"}
    whole = list(train_loader(domains("gtav", "mapillary"), start=0, **options))
    resumed = list(train_loader(domains("gtav", "mapillary"), start=2, workers=workers, **options))
    assert len(resumed) == 2
    assert all(same(first, second) for first, second in zip(whole[2:], resumed, strict=True))
    assert not same(whole[0], whole[1])


def test_meta_split_is_a_fair_cut() -> None:
    for count in (2, 3, 5):
        splits = [meta_split(count, 7, iteration) for iteration in range(400)]
        sizes = [sum(split) for split in splits]
        assert set(sizes) == set(range(1, count)) and splits != [meta_split(count, 8, i) for i in range(400)]
        np.testing.assert_allclose(np.mean(splits, axis=0), 0.5, atol=0.1)
        np.testing.assert_allclose(np.bincount(sizes)[1:] / 400, 1 / (count - 1), atol=0.1)


@pytest.mark.parametrize("meta", [False, True])
@pytest.mark.parametrize("meta_aug", ["role", "first_domain", "none"])
def test_strong_jitter(meta: bool, meta_aug: str) -> None:
    for batch in IterationSampler(3, 2, 0, 20, seed=0, meta=meta, meta_aug=meta_aug):
        roles = [request.meta_test for request in batch]
        expected = {"role": roles, "first_domain": [True] * 2 + [False] * 4, "none": [False] * 6}[meta_aug]
        assert [request.hard for request in batch] == expected and any(roles) == meta


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_reach_the_user_in_one_line(domains: Callable[..., Domains], root: Path, workers: int) -> None:
    broken, labels = domains("mapillary"), [sample.label for sample in spec("mapillary").pairs(root, "train")]
    for label in labels:
        label.write_bytes(b"no image")
    with pytest.raises(UsageError) as caught:
        list(train_loader(broken, batch_size=1, start=0, stop=1, workers=workers))
    assert "png: unreadable label" in str(caught.value) and "\n" not in str(caught.value)
    assert not multiprocessing.active_children()  # or exit would wait for them
    Image.new("L", (60, 41)).save(labels[0])
    with pytest.raises(UsageError, match=r"\.jpg: is 128x64 but its label .*\.png is 60x41"):
        list(eval_loader(LabelledImages(spec("mapillary"), root, "train", limit=1), workers=workers))


def test_labelled_images_one_by_one(data: Path) -> None:
    images = LabelledImages(spec("gtav"), data, "train")
    names = [sample.name for sample in images.samples]
    for limit, expected in ((2, [names[0], names[2]]), (9, names)):
        few = LabelledImages(spec("gtav"), data, "train", limit=limit)
        assert [sample.name for sample in few.samples] == expected and len(few.found) == 4
    loaded = list(eval_loader(images, workers=1))
    assert [name for _, _, name in loaded] == names
    assert [name for _, _, name in eval_loader(images, indices=[3, 1])] == [names[3], names[1]]
    (picture, label, name), (image, train_ids, _) = images[1], loaded[1]
    assert name == names[1] and picture.size == images.size(1) == (128, 64)
    assert image.dtype == train_ids.dtype == torch.uint8
    assert np.array_equal(image.permute(1, 2, 0), picture) and np.array_equal(train_ids, label)
    cropped = [next(iter(eval_loader(images, crop=80, mapillary_pad=pad))) for pad in ("ignore", "road")]
    assert all(image.shape == (3, 80, 80) and train_ids.shape == (80, 80) for image, train_ids, _ in cropped)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_images_for_a_gpu_are_pinned(device: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of the evaluation's loaders: otherwise the host would wait for the GPU at every copy to it."""
    pinned = []
    monkeypatch.setattr(Loader, "__iter__", lambda loader: pinned.append(loader.pin_memory) or iter(()))
    predict, images = MagicMock(device=torch.device(device)), LabelledImages(spec("gtav"), data, "train")
    options = parse_evaluation(["--snapshot", "x.pth", "--dataset", "gtav", "--num_workers", "0"])
    list(read_images(ImageFolder(images.samples[0].image), [], Pyramid(), workers=0, device=device))
    with FakeTensorMode(), pytest.raises(ValueError, match="shorter"):
        score_reads(predict, images, scoring=options.scoring, workers=0)
    with FakeTensorMode(), pytest.raises(ValueError):
        score(predict, images, options, [[0]], 0)
    assert pinned == [device == "cuda"] * 3


def test_any_folder_of_images(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name, mode in (("b.PNG", "RGBA"), ("sub/a.jpg", "L"), ("sub/a.png", "L"), ("sub/a.jpg.bmp", "L")):
        Image.new(mode, (4, 2)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not an image")
    images = ImageFolder(tmp_path)
    assert len(images) == 4 and images.skipped == [tmp_path / "notes.txt"]
    assert [images.stem(index) for index in range(4)] == ["b", "sub/a.jpg", "sub/a.jpg.bmp", "sub/a.png"]
    assert all(images[index].mode == "RGB" for index in range(4))
    assert ImageFolder(tmp_path / "b.PNG").stem(0) == "b"
    for path in (tmp_path / "notes.txt", tmp_path / "absent"):
        with pytest.raises(UsageError, match="no image here"):
            ImageFolder(path)
    (tmp_path / "c.png").write_bytes(b"broken")
    with pytest.raises(UsageError, match=r"c\.png: unreadable image"):
        ImageFolder(tmp_path)[1]


def fail(index: int) -> None:
    raise MemoryError("no room")  # no mistake of the user


def test_an_error_of_a_worker_lets_all_workers_go() -> None:
    before = set(multiprocessing.active_children())
    with pytest.raises(MemoryError, match="no room"):
        list(one_by_one(fail, range(4), 2))
    assert set(multiprocessing.active_children()) == before


FULL = """
import torch
from datasets.sampling import worker_loader
from datasets.sampling.worker_loader import QUEUES, check_room, one_by_one
from utils.errors import UsageError
try:
    list(one_by_one(lambda index: torch.zeros(400_000, dtype=torch.uint8), range(8), 2))
except UsageError as error:
    print(error)
"""


@pytest.mark.parametrize("size", ["600k", "16k"])  # for one item, and not even for a queue
def test_shared_memory_that_is_full(size: str) -> None:
    """Torch alone would wait for ever."""
    own = ["unshare", "-m", "bash", "-c"]  # a process that sees another disk there
    if not Path("/dev/shm").is_dir() or subprocess.run([*own, "mount -t tmpfs tmpfs /dev/shm"]).returncode:
        pytest.skip("needs the right to mount")
    command = f"mount -t tmpfs -o size={size} tmpfs /dev/shm && exec {sys.executable} -c '{FULL}'"
    done = subprocess.run([*own, command], cwd=ROOT, capture_output=True, text=True, timeout=100)
    for part in ("/dev/shm: ", "--shm-size 8g", "--num_workers 0 needs none"):
        assert part in done.stdout, done.stderr
    assert done.stdout.count("\n") == 1 and done.stderr.count("\n") <= 2  # torch 2.6 adds a line for each process


def test_room_in_shared_memory(domains: Callable[..., Domains], data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"batch_size": 2, "start": 0, "stop": 9}
    train = train_loader(domains("gtav", "synthia"), workers=2, **options)
    assert train.shared_bytes == 2 * QUEUES + 2 * 2 * (2 * 2 * 4 * CROP**2)
    score = eval_loader(LabelledImages(spec("gtav"), data, "val"), workers=2)
    assert score.shared_bytes == 2 * QUEUES + 2 * (4 * 64 * 128)  # two images
    assert train_loader(domains("gtav"), workers=0, **options).shared_bytes == 0
    needed = 2 * (train.shared_bytes + score.shared_bytes)
    for free in (needed, needed - 1):
        monkeypatch.setattr(worker_loader, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        with nullcontext() if free == needed else pytest.raises(UsageError, match=r"0\.4 MB free.*up to 0\.4 MB"):
            check_room(train, score, processes=2)
    monkeypatch.setattr(worker_loader, "disk_usage", lambda _: SimpleNamespace(free=0))
    assert len(list(train_loader(domains("gtav"), workers=0, **options))) == 9
    with pytest.raises(UsageError, match=r"^/dev/shm: has 0\.0 MB free"):
        next(iter(train))
