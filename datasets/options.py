"""Options of the data: where it lies, how it is augmented, how samples are drawn.  Imports no torch."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets.images import LabelledImages
from datasets.own.custom import is_among
from datasets.registry import DatasetSpec, spec, titles
from utils.options import ANY, COUNT, FACTOR, SHARE, WEIGHT, class_ids, option

BOOSTED = "cityscapes"  # the data set whose coarse labels show more of rare classes


def user_path(text: str) -> Path:
    return Path(text).expanduser()


def lasting_path(text: str) -> Path:
    """A path that means the same when a run goes on from another folder."""
    return user_path(text).absolute()


@dataclass(frozen=True)
class DataOptions:
    """Where the data sets are and how they are read."""

    root: Path = option(
        None,
        "the folder of all data sets; the environment variable DG_SEG_DATASET sets it too",
        factory=lambda: lasting_path(os.environ.get("DG_SEG_DATASET", "~/dg_seg_dataset")),
        flag="data_root",
        type=lasting_path,
        metavar="DIR",
    )
    split_files: tuple[str, ...] | None = option(
        None,
        "lists of file names, or a folder of lists, that divide GTAV and SYNTHIA: gtav_split_train.txt and so on",
        flag="split_file",
        type=lambda text: str(lasting_path(text)),
        nargs="+",
        metavar="PATH",
    )
    gtav_labels: str | None = option(None, "how GTAV labels are read [recipe]", choices=("ids", "colour"))
    names: tuple[str, ...] = ()  # all data sets of this command, the sources first; own ones get titles from these
    trained_on: Sequence[str] = ()  # the sources of the network: a rule divides own ones among them

    def dataset(self, name: str) -> DatasetSpec:
        """The data set that the command line calls ``name``."""
        return spec(
            name,
            gtav_labels=self.gtav_labels,
            split_files=self.split_files or (),
            title=titles(self.names).get(name),
            divided=is_among(name, self.trained_on),
        )

    def images(self, name: str, split: str, limit: int = 0) -> LabelledImages:
        """The images of one split of a data set; ``limit`` > 0 keeps that many."""
        return LabelledImages(self.dataset(name), self.root, split, limit=limit)


@dataclass(frozen=True)
class AugmentationOptions:
    """Options of ``datasets.transforms.Augmentation``."""

    crop_size: int = option(768, "side of the square training crop", type=COUNT)
    pre_size: int = option(0, "length of the shorter side before scaling; 0: as stored", type=ANY, metavar="SIDE")
    scale_min: float = option(0.5, "smallest random scale", type=FACTOR)
    scale_max: float = option(2.0, "largest random scale", type=FACTOR)
    pad: bool = option(True, "enlarge images that are smaller than the crop, instead of padding", flag="crop_nopad")
    rotate: float = option(0, "random rotation; 0: none", flag="rrotate", type=WEIGHT, metavar="DEGREES")
    color_aug: float = option(0, "above 0: colour jitter on half of the images", type=WEIGHT)
    gblur: bool = option(False, "random Gaussian blur")
    bblur: bool = option(False, "random bilateral blur, which keeps edges, instead of Gaussian blur")


@dataclass(frozen=True)
class SamplingOptions:
    """Which samples an iteration draws."""

    batch_size: int = option(4, "images per domain and iteration", flag="bs_mult", type=COUNT, metavar="N")
    joined: bool = option(
        False,
        "draw from the images of all sources together, --bs_mult in all: large data sets weigh more",
        flag="image_uniform_sampling",
    )
    class_uniform: float = option(
        0.0,
        "share of the samples for which a class is drawn first, then a tile that shows it; 0: none",
        flag="class_uniform_pct",
        type=SHARE,
        metavar="P",
    )
    tile: int = option(1024, "longest side of a tile, in pixels", flag="class_uniform_tile", type=COUNT, metavar="SIDE")
    boosted_classes: tuple[int, ...] | None = option(
        None,
        'draw tiles of these classes also from the coarse labels of Cityscapes, e.g. "14,15,16"',
        flag="coarse_boost_classes",
        type=class_ids,
        metavar="A,B,...",
    )
    class_uniform_epochs: int = option(
        10_000, "epochs with class-uniform samples", flag="max_cu_epoch", type=ANY, metavar="N"
    )
    epoch_size: int = option(2975, "images per domain in an epoch", type=COUNT, metavar="N")
    meta_aug: str | None = option(
        None,
        "who gets the strong colour jitter: the domains that are meta-test, or always the first domain [recipe]",
        choices=("role", "first_domain"),
    )
    skip_bad: int = option(
        0,
        "replace up to N images that cannot be read by other images; one more saves and stops the run",
        type=ANY,
        metavar="N",
    )
