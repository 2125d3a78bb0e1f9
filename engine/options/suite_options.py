"""Options of tables of several checkpoints and runs, and what stands in these by default."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from datasets.options import DataOptions, user_path
from datasets.registry import SPECS
from datasets.spec import NoImagesError
from engine.options.parser import refuse_if
from utils.options import option

BY_PARTS = ("acdc",)  # data sets whose conditions share the images out, and are reported each


@dataclass(frozen=True)
class SuiteOptions:
    """Checkpoints, domains and ways of inference that stand in one table."""

    name: str | None = option(
        None,
        "score last.pth and best.pth of the run in four ways, on all data sets below --data_root or on --dataset; "
        "repeat the command to go on",
        flag="suite",
        choices=("dg",),
    )
    corruptions: bool = option(False, "also under the fifteen corruptions of ImageNet-C at severity 3")
    runs: tuple[Path, ...] = option(
        (),
        "instead of --snapshot: runs with other seeds, or folders of train.py --seeds; their mean and 95 %% interval",
        nargs="+",
        type=user_path,
        metavar="RUN",
    )


def runs_in(folders: Sequence[Path]) -> list[Path]:
    """The folders of runs, each itself or, below a folder of ``train.py --seeds``, the newest one of each seed."""
    runs = []
    for folder in folders:
        seeds = [sorted(seed.glob("*/last.pth")) for seed in sorted(folder.glob("seed_*"))]
        found = [folder] if (folder / "last.pth").is_file() else [files[-1].parent for files in seeds if files]
        refuse_if(not found, f"--runs {folder}: no last.pth in it or in its seed_*/; give the folder of a run")
        runs += found
    return runs


def domains_on_disk(data: DataOptions, split: str) -> tuple[str, ...]:
    """The data sets that have images of the split below the data root; ACDC by its conditions, as usual."""
    names: list[str] = []
    for name, entry in SPECS.items():
        parts = [f"{name}_{condition}" for condition in entry.conditions] if name in BY_PARTS else [name]
        for part in parts if split in entry.splits else ():
            with suppress(NoImagesError):
                names += [part] if data.images(part, split) else []
    refuse_if(not names, f"{data.root}: no data set with images of {split} here; name another --data_root")
    return tuple(names)
