"""What a loader does about files that cannot be read and about processes that die."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from test_bad_files import images, truncate
from test_loaders import same

from datasets.registry import spec
from datasets.sampling.class_tiles import ClassTiles, places
from datasets.sampling.loaders import ClassUniform, Domains, train_loader
from datasets.sampling.requests import Request
from datasets.sampling.worker_loader import one_by_one
from datasets.transforms import Augmentation
from utils.errors import UsageError

ENDS = [(lambda: os.kill(os.getpid(), signal.SIGKILL), "killed by SIGKILL"), (lambda: os._exit(3), "ended with code 3")]


@pytest.mark.parametrize("waiting", [False, True])
@pytest.mark.parametrize(("end", "message"), ENDS)
def test_a_dead_worker_is_reported_at_the_next_batch(end: Callable[[], object], message: str, waiting: bool) -> None:
    now = multiprocessing.Event()

    def item(index: int) -> int:
        if index == 1:
            now.wait(60)
            end()
        return index

    loader = iter(one_by_one(item, range(4), 1))
    assert next(loader) == 0
    (worker,) = multiprocessing.active_children()
    if waiting:
        threading.Timer(0.3, now.set).start()
    else:
        now.set()
        worker.join()  # torch would raise here, in the middle of whatever is being done
    begun = time.monotonic()
    with pytest.raises(UsageError, match=rf"--num_workers 1: .*{message}.*fewer, 0 for none"):
        next(loader)
    assert time.monotonic() < begun + 2 and not multiprocessing.active_children()


@pytest.fixture
def domains(root: Path) -> Callable[..., Domains]:
    pairs = spec("gtav").pairs(root, "train")
    return lambda **options: Domains([(spec("gtav"), pairs)], Augmentation(crop_size=32, color_aug=0.5), 0, **options)


def test_a_replacement_is_a_function_of_the_request(root: Path, domains: Callable[..., Domains]) -> None:
    requests = [Request(iteration, 0, slot, False, False) for iteration in range(8) for slot in range(2)]
    before = [domains()[request] for request in requests]
    truncate(*images(root)[:2])
    drawn = [domains(skip_bad=2).draw(request) for request in requests]
    for (image, label, bad), (old, old_label) in zip(drawn, before, strict=True):
        assert bool(bad) != (torch.equal(image, old) and torch.equal(label, old_label))  # the others stay as they were
    taken = [image for image, _, bad in drawn if bad]
    assert len({image.numpy().tobytes() for image in taken}) == len(taken) > 4
    options = {"batch_size": 2, "stop": 8}
    whole = list(train_loader(domains(skip_bad=2), start=0, **options))
    for workers in (0, 2):
        part = list(train_loader(domains(skip_bad=2), start=3, workers=workers, **options))
        assert all(same(*batches) for batches in zip(whole[3:], part, strict=True))
        assert [dict(batch.replaced) for batch in part] == [dict(batch.replaced) for batch in whole[3:]]
    names = {f"gtav demo_{path.stem}" for path in images(root)[:2]}
    assert {name for batch in whole for name, _ in batch.replaced} == names
    truncate(*images(root)[2:])
    with pytest.raises(UsageError, match="no other image of the domain could be read in its place"):
        domains(skip_bad=9).draw(requests[0])
    with pytest.raises(UsageError, match="to replace more than 2 bad images by others: --skip_bad N"):
        domains(skip_bad=2).draw(requests[0])


def test_samples_drawn_by_class_are_replaced_too(root: Path, domains: Callable[..., Domains]) -> None:
    """Alone and with workers; nothing else changes."""
    pairs = spec("gtav").pairs(root, "train")
    tiles = ClassTiles.of(places(spec("gtav").decode(pair.label), 64) for pair in pairs)
    drawn = domains(skip_bad=1, uniform=ClassUniform([tiles], 1.0, 8))
    options = {"batch_size": 2, "start": 0, "stop": 8}
    before = list(train_loader(drawn, **options))
    truncate(images(root)[1])
    after, by_workers = (list(train_loader(drawn, workers=workers, **options)) for workers in (0, 2))
    assert all(same(*batches) for batches in zip(after, by_workers, strict=True))
    for batch, old in zip(after, before, strict=True):
        assert bool(batch.replaced) != same(batch, old)
    assert {name for batch in after for name, _ in batch.replaced} == {f"gtav demo_{images(root)[1].stem}"}
