"""Class-uniform sampling: the tiles of every source, computed once and kept for all runs."""

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from datasets.registry import DatasetSpec, Sample
from datasets.sampling.class_tiles import ClassTiles, key, places_loader
from datasets.sampling.loaders import ClassUniform, Domains
from engine.options.training_options import TrainingOptions
from engine.timetable import timetable_of
from utils.distributed import first_on_machine
from utils.errors import UsageError
from utils.processes import rank

FOLDER = "class_tiles"  # below the folder of all runs


def class_uniform(options: TrainingOptions, domains: Domains) -> ClassUniform | None:
    """How a share of the samples of ``domains`` is drawn by class; None without such samples."""
    sampling = options.sampling
    if not sampling.class_uniform:
        return None
    tiles = {dataset.name: tiles_of(options, dataset, samples) for dataset, samples in domains.sources}
    tables = [tiles[dataset.name] for dataset, _ in domains.sources]
    if domains.joined:
        tables = [ClassTiles.joined(tables, [len(samples) for _, samples in domains.sources])]
    for dataset, samples in domains.extra:
        coarse = tiles_of(options, dataset, samples)
        for domain, pool in enumerate(domains.pools):
            if any(fine.name == dataset.name for fine, _ in pool):
                first = sum(len(images) for _, images in pool)
                tables[domain] = tables[domain].boosted(coarse, sampling.boosted_classes, first=first)
    return ClassUniform(tables, sampling.class_uniform, timetable_of(options).class_uniform_end)


def tiles_of(options: TrainingOptions, dataset: DatasetSpec, samples: Sequence[Sample]) -> ClassTiles:
    """The tiles of a data set, from their file or from the labels; one process of a machine computes them."""
    side = options.sampling.tile
    path = options.run.exp_root / FOLDER / f"{dataset.name}_{key(dataset, samples, side)}.npz"
    with first_on_machine():
        tiles = ClassTiles.load(path) or compute_tiles(options, dataset, samples, path)
    if not len(tiles.classes):
        raise UsageError(
            f"--class_uniform_pct: the labels of {dataset.name} show no class; give labels, or drop the flag"
        )
    return tiles


def compute_tiles(options: TrainingOptions, dataset: DatasetSpec, samples: Sequence[Sample], path: Path) -> ClassTiles:
    """The tiles of a data set from its labels, saved as ``path``."""
    labels = places_loader(dataset, samples, side=options.sampling.tile, workers=options.machine.workers)
    progress = tqdm(labels, f"classes of {dataset.name}", leave=False, disable=rank() > 0)
    tiles = ClassTiles.of(progress)
    tiles.save(path)
    return tiles
