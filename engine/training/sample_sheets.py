"""``--dump_augmentation_images``: the samples that the network is trained on, as pictures."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from datasets.labels import ClassSet
from datasets.sampling.loaders import Batch, Domains
from utils.pictures import contact_sheet, save_picture

FOLDER, BATCHES, COLUMNS = "augmentation", 4, 4


def with_sheets(batches: Iterable[Batch], folder: Path, domains: Domains, *, start: int) -> Iterator[Batch]:
    """The same batches, the first of iteration ``start``; each of the first four is also written as a picture."""
    names = ["all sources"] if domains.joined else [dataset.name for dataset, _ in domains.sources]
    classes = domains.sources[0][0].classes
    batches = iter(batches)
    for iteration, batch in enumerate(islice(batches, BATCHES), start):
        save_picture(folder / FOLDER / f"iteration_{iteration:07d}.png", sheet_of(batch, names, classes))
        yield batch
    yield from batches


def sheet_of(batch: Batch, domains: Sequence[str], classes: ClassSet) -> np.ndarray:
    """Every image of a batch beside its coloured labels, in full size: H,W,3 uint8."""
    tiles = {}
    for name, role, images, labels in zip(domains, batch.meta_test.tolist(), batch.images, batch.labels, strict=True):
        for image, label in zip(images, labels, strict=True):
            title = f"{len(tiles)} {name}" + (", meta-test" if role else "")
            tiles[title] = np.hstack([image.permute(1, 2, 0).numpy(), classes.colourise(label.numpy())])
    return contact_sheet(tiles, columns=COLUMNS, width=2 * batch.images.shape[-1])
