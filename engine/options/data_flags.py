"""The flags of training data: which images, how they are drawn and augmented."""

import argparse
from typing import Any

from datasets.registry import SPECS
from engine.options import flags
from engine.options.flags import ANY, COUNT, FACTOR, SHARE, WEIGHT

LETTERS = {  # the shorthand of TSMLDG, and a letter for BDD100K
    "G": "gtav", "S": "synthia", "I": "idd", "M": "mapillary", "C": "cityscapes", "B": "bdd100k",
}  # fmt: skip
OWN = "custom:PATH for a folder of your own"
BOOSTED = "cityscapes"  # which has coarse labels too
TRIAL = {"crop_size": 240, "bs_mult": 2, "max_iter": 60, "mem_init_batches": 4, "val_images": 12, "val_interval": 60}


def add_training_data(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("data")
    names = ", ".join(SPECS)
    sources = group.add_mutually_exclusive_group()
    sources.add_argument(
        "--dataset", nargs="+", default=["gtav", "synthia"], metavar="NAME", help=f"sources, of {names}, or {OWN}"
    )
    add_letters(sources, "--source", "dataset")
    targets = group.add_mutually_exclusive_group()
    targets.add_argument(
        "--val_dataset", nargs="*", default=["cityscapes", "bdd100k", "mapillary"], metavar="NAME",
        help="domains never seen in training, scored every so often",
    )  # fmt: skip
    add_letters(targets, "--target", "val_dataset")
    flags.add_data_root(group)
    group.add_argument(
        "--skip_bad", type=ANY, default=0, metavar="N", help="replace up to N images that cannot be read by others; "
        "with the next one training saves and stops"
    )  # fmt: skip
    group.add_argument("--no_check", action="store_true", help="train without a look at a sample of the files first")
    group.add_argument("--bs_mult", type=COUNT, default=4, metavar="N", help="images per domain and iteration")
    group.add_argument("--crop_size", type=COUNT, default=768, help="side of the square training crop")
    group.add_argument(
        "--pre_size", type=ANY, default=0, metavar="SIDE", help="shorter side to scale from; 0: as stored"
    )
    group.add_argument("--scale_min", type=FACTOR, default=0.5, help="smallest random scale")
    group.add_argument("--scale_max", type=FACTOR, default=2.0, help="largest random scale")
    group.add_argument("--crop_nopad", action="store_true", help="scale up instead of padding what is too small")
    group.add_argument("--rrotate", type=WEIGHT, default=0, metavar="DEGREES", help="random rotation; 0: none")
    group.add_argument("--color_aug", type=WEIGHT, default=0, help="above 0: colour jitter on half of the images")
    group.add_argument("--gblur", action="store_true", help="random Gaussian blur")
    group.add_argument("--bblur", action="store_true", help="a blur that keeps edges (bilateral) in its place")
    flags.add_image_in(group, told="; stored with the network")
    group.add_argument(
        "--meta_aug", choices=("role", "first_domain"),
        help="strong jitter on the domains that are meta-test, or always on the first [recipe]",
    )  # fmt: skip


def add_letters(group: Any, flag: str, other: str) -> None:
    """A flag that says in letters what the flag of the list ``other`` says in names."""
    told = ", ".join(f"{letter} {name}" for letter, name in LETTERS.items())
    group.add_argument(
        flag, dest=other, type=letters, default=argparse.SUPPRESS, metavar="LETTERS", help=f"--{other} in short: {told}"
    )


def letters(text: str) -> list[str]:
    """An argparse type: 'GS' as the names of data sets."""
    if not text or (wrong := [letter for letter in text.upper() if letter not in LETTERS]):
        known = ", ".join(f"{letter} ({name})" for letter, name in LETTERS.items())
        raise argparse.ArgumentTypeError(f"{text}: {', '.join(wrong) if text else 'nothing'} is no letter of {known}")
    return [LETTERS[letter] for letter in text.upper()]


def add_sampling(group: Any) -> None:
    group.add_argument(
        "--image_uniform_sampling", action="store_true", help="draw from the images of all sources together, --bs_mult "
        "in all, so that large data sets weigh more"
    )  # fmt: skip
    group.add_argument(
        "--class_uniform_pct", type=SHARE, default=0.0, metavar="P",
        help="share of the samples for which a class is drawn first, then a tile that shows it; 0: none",
    )  # fmt: skip
    group.add_argument(
        "--class_uniform_tile", type=COUNT, default=1024, metavar="SIDE", help="longest side of these tiles, in pixels"
    )
    group.add_argument(
        "--coarse_boost_classes", type=flags.classes, metavar="A,B,...", help="tiles of these classes are also drawn "
        'from the coarse labels of Cityscapes, e.g. "14,15,16"'
    )  # fmt: skip
    group.add_argument("--max_cu_epoch", type=ANY, default=10_000, metavar="N", help="epochs with such samples")
    group.add_argument("--epoch_size", type=COUNT, default=2975, metavar="N", help="images per domain in an epoch")
    group.add_argument("--cv", type=ANY, default=0, metavar="0", help="split of Cityscapes: 0, the standard one")
    group.add_argument("--city_mode", default="train", metavar="train", help="part of Cityscapes to train on: train")


def check_data(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if args.image_uniform_sampling and args.mldg:
        parser.error("--image_uniform_sampling: --mldg needs images of every domain in each iteration; drop either")
    check_cityscapes(parser, args)
    if args.coarse_boost_classes and not (args.class_uniform_pct and BOOSTED in args.dataset):
        parser.error(
            f"--coarse_boost_classes changes nothing without --class_uniform_pct and {BOOSTED} among the sources: add "
            "these, or drop --coarse_boost_classes"
        )


def check_cityscapes(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """The release's other splits leave no held-out images by which the best checkpoint could be chosen."""
    if args.cv != 0:
        parser.error(f"--cv {args.cv}: of Cityscapes only the standard split is known here; give 0 or leave it out")
    if args.city_mode != "train":
        parser.error(
            f"--city_mode {args.city_mode}: Cityscapes is trained on its training images only, the others choose the "
            "best checkpoint; give train or leave it out"
        )
