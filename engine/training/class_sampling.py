"""From flags to class-uniform sampling: the tiles of every source, found once and kept for all runs."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from datasets.registry import DatasetSpec, Sample
from datasets.sampling.class_tiles import ClassTiles, key, places_loader
from datasets.sampling.loaders import ClassUniform, Domains
from engine.plan import uniform_iterations
from utils.distributed import first_on_machine
from utils.errors import UsageError
from utils.processes import rank

FOLDER = "class_tiles"  # below the folder of all runs


def class_uniform(args: Namespace, domains: Domains) -> ClassUniform | None:
    """How ``--class_uniform_pct`` wants the samples of ``domains`` drawn; None for not at all."""
    if not args.class_uniform_pct:
        return None
    tiles = {row.name: tiles_of(args, row, samples) for row, samples in domains.sources}
    tables = [tiles[row.name] for row, _ in domains.sources]
    if domains.joined:
        tables = [ClassTiles.joined(tables, [len(samples) for _, samples in domains.sources])]
    for row, samples in domains.extra:
        coarse = tiles_of(args, row, samples)
        for domain, pool in enumerate(domains.pools):
            if any(fine.name == row.name for fine, _ in pool):
                first = sum(len(found) for _, found in pool)
                tables[domain] = tables[domain].boosted(coarse, args.coarse_boost_classes, first=first)
    return ClassUniform(tables, args.class_uniform_pct, uniform_iterations(args))


def tiles_of(args: Namespace, row: DatasetSpec, samples: Sequence[Sample]) -> ClassTiles:
    """The tiles of a data set, from the file that holds them or from its labels; one process of a machine looks."""
    path = args.exp_root / FOLDER / f"{row.name}_{key(row, samples, args.class_uniform_tile)}.npz"
    with first_on_machine():
        tiles = ClassTiles.load(path) or found(args, row, samples, path)
    if not len(tiles.classes):
        raise UsageError(f"--class_uniform_pct: the labels of {row.name} show no class; give labels, or drop the flag")
    return tiles


def found(args: Namespace, row: DatasetSpec, samples: Sequence[Sample], path: Path) -> ClassTiles:
    """The tiles of a data set from its labels, saved as ``path``."""
    labels = places_loader(row, samples, side=args.class_uniform_tile, workers=args.num_workers)
    tiles = ClassTiles.of(
        tqdm(labels, f"classes of {row.name}", leave=False, disable=rank() > 0), classes=len(row.classes)
    )
    try:
        tiles.save(path)
    except OSError as error:
        raise UsageError(f"--exp_root {args.exp_root}: cannot write there ({error}); name another folder") from error
    return tiles
