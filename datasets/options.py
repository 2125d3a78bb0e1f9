"""Options of the data: where it lies, how it is augmented, how samples are drawn.  Imports no torch."""

import os
from collections.abc import Sequence
from contextlib import suppress
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


def home() -> Path:
    """The home directory; for an account that has none, as in some containers, the working directory."""
    with suppress(RuntimeError):
        return Path.home()
    return Path.cwd()


def data_root() -> Path:
    return lasting_path(os.environ.get("DG_SEG_DATASET", home() / "dg_seg_dataset"))


@dataclass(frozen=True)
class DataOptions:
    """Where the data sets are and how they are read."""

    root: Path = option(
        data_root, "folder of all data sets, or set DG_SEG_DATASET", flag="data_root", type=lasting_path
    )
    split_files: tuple[str, ...] | None = option(
        None,
        "lists of images, or a folder with gtav_split_train.txt and so on",
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
    pre_size: int = option(0, "length of the shorter side before scaling; 0: as stored", type=ANY)
    scale_min: float = option(0.5, "smallest random scale", type=FACTOR)
    scale_max: float = option(2.0, "largest random scale", type=FACTOR)
    pad: bool = option(True, "enlarge images that are smaller than the crop, instead of padding", flag="crop_nopad")
    rotate: float = option(0, "random rotation, in degrees; 0: none", flag="rrotate", type=WEIGHT)
    color_aug: float = option(0, "above 0: colour jitter on half of the images", type=WEIGHT)
    gblur: bool = option(False, "random Gaussian blur")
    bblur: bool = option(False, "random bilateral blur, which keeps edges, instead of Gaussian blur")


@dataclass(frozen=True)
class SamplingOptions:
    """Which samples an iteration draws."""

    batch_size: int = option(4, "images per domain and iteration", flag="bs_mult", type=COUNT)
    joined: bool = option(False, "draw --bs_mult images from all sources together", flag="image_uniform_sampling")
    class_uniform: float = option(0.0, "share of samples drawn by class", flag="class_uniform_pct", type=SHARE)
    tile: int = option(1024, "longest side of the tile around a class", flag="class_uniform_tile", type=COUNT)
    boosted_classes: tuple[int, ...] | None = option(
        None, "classes drawn from Cityscapes' coarse labels too", flag="coarse_boost_classes", type=class_ids
    )
    class_uniform_epochs: int = option(10_000, "epochs with class-uniform samples", flag="max_cu_epoch", type=ANY)
    epoch_size: int = option(2975, "images per domain in an epoch", type=COUNT)
    meta_aug: str | None = option(
        None,
        "domains with strong colour jitter: meta-test, the first, or none [recipe]",
        choices=("role", "first_domain", "none"),
    )
    skip_bad: int = option(0, "replace up to N images that cannot be read; one more stops the run", type=ANY)
