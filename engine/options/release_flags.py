"""What the command lines of the three papers' releases say in another way, or say without effect (docs/commands.md)."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LETTERS = {  # the shorthand of TSMLDG, and a letter for BDD100K
    "G": "gtav", "S": "synthia", "I": "idd", "M": "mapillary", "C": "cityscapes", "B": "bdd100k",
}  # fmt: skip
KNOWN_LETTERS = ", ".join(f"{letter} ({name})" for letter, name in LETTERS.items())
PRETRAINED = ("pretrained_model", "pretrained_models")  # folders of the authors' weights in its README and scripts

TRAINING_WITHOUT_EFFECT = (
    "--tb_path", "--tb_tag", "--bs_mult_val", "--sgd", "--syncbn", "--adam", "--amsgrad", "--fp16", "--freeze_trunk",
    "--hardnm", "--trunk", "--rescale", "--repoly", "--scf", "--start_epoch", "--epoch_per_val", "--maxSkip", "--date",
    "--dist_url", "--use_wtloss", "--use_isw", "--visualize_feature",
)  # fmt: skip
EVALUATION_WITHOUT_EFFECT = (
    "--faster", "--syncbn", "--dist_bn", "--profile", "--trunk", "--dataset_dir", "--dataset_cls", "--resume",
    "--cv_split", "--trials", "--visualize_feature", "--mode", "--ablation_mode", "--tsnecuda",
    "--fixed_aspp_pool", "--split_count",
    # The release asks for the options of training again; here the snapshot holds them.
    "--mem_slot", "--mem_dim", "--mem_momentum", "--mem_temp", "--relax_denom", "--clusters", "--use_wtloss",
    "--use_isw", "--cls_wt_loss", "--img_wt_loss", "--wt_bound", "--batch_weighting", "--jointwtborder",
    "--strict_bdr_cls", "--rlx_off_iter",
)  # fmt: skip


class WithoutEffect(argparse.Action):
    """Accept a flag that changes nothing; the parser says so once, for all such flags."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        parser.without_effect.append(option_string)


def add_without_effect(parser: argparse.ArgumentParser, flags: Sequence[str]) -> None:
    """Accept ``flags``, each with a value or without, and keep them out of ``--help``."""
    hidden = {"help": argparse.SUPPRESS, "default": argparse.SUPPRESS}
    for flag in flags:
        parser.add_argument(flag, nargs="?", action=WithoutEffect, **hidden)
    parser.add_argument("--local_rank", "--local-rank", type=int, **hidden)  # torch.distributed.launch gives it


def add_letters(group: Any, flag: str, other: str) -> None:
    """A flag whose letters name the data sets that the flag ``--other`` lists."""
    text = f"short for --{other}: {KNOWN_LETTERS}"
    group.add_argument(flag, dest=other, type=letters, metavar="LETTERS", default=argparse.SUPPRESS, help=text)


def letters(text: str) -> list[str]:
    """An argparse type: 'GS' as the names of data sets."""
    for letter in text.upper():
        if letter not in LETTERS:
            raise argparse.ArgumentTypeError(f"{text}: {letter} is no letter of {KNOWN_LETTERS}")
    return [LETTERS[letter] for letter in text.upper()]


def given_weights(path: Path) -> Path:
    """``path``, or the same path in the other folder of pretrained weights, if only that exists."""
    if path.exists() or not path.parts or path.parts[0] not in PRETRAINED:
        return path
    others = [Path(folder, *path.parts[1:]) for folder in PRETRAINED]
    return next(filter(Path.exists, others), path)
