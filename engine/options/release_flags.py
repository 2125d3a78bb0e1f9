"""What the command lines of the authors' release say in another way, or say without effect."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.log import log

LETTERS = {  # the shorthand of TSMLDG, and a letter for BDD100K
    "G": "gtav", "S": "synthia", "I": "idd", "M": "mapillary", "C": "cityscapes", "B": "bdd100k",
}  # fmt: skip
KNOWN_LETTERS = ", ".join(f"{letter} ({name})" for letter, name in LETTERS.items())
VIDEO_FOLDER = "video_folder"  # the release's name for images without labels
PRETRAINED = ("pretrained_model", "pretrained_models")  # folders of the authors' weights in its README and scripts

# Flags without effect here: the number of their values, or their usual value, which needs no note.
TRAINING_WITHOUT_EFFECT = {
    "--tb_tag": 1, "--bs_mult_val": "1",
    "--sgd": 0, "--syncbn": 0, "--adam": 0, "--amsgrad": 0, "--fp16": 0, "--freeze_trunk": 0, "--hardnm": 1,
    "--trunk": 1, "--rescale": 1, "--repoly": 1, "--scf": 0, "--start_epoch": 1, "--epoch_per_val": 1,
    "--maxSkip": 1, "--date": 1, "--dist_url": 1, "--use_wtloss": 0, "--use_isw": 0, "--visualize_feature": 0,
}  # fmt: skip
EVALUATION_WITHOUT_EFFECT = {
    "--faster": 0, "--syncbn": 0, "--dist_bn": 0, "--profile": 0, "--trunk": 1, "--dataset_dir": 1, "--dataset_cls": 1,
    "--resume": 0, "--cv_split": 1, "--trials": 1, "--visualize_feature": 0, "--mode": 1,
    "--ablation_mode": 0, "--tsnecuda": 0, "--fixed_aspp_pool": 0, "--split_count": "1",
    # The release asks for the options of training again; here the snapshot holds them.
    "--mem_slot": "19", "--mem_dim": "256", "--mem_momentum": "0.8", "--mem_temp": "1", "--relax_denom": "0.0",
    "--clusters": "50", "--use_wtloss": 0, "--use_isw": 0, "--cls_wt_loss": 0, "--img_wt_loss": 0, "--wt_bound": "1.0",
    "--batch_weighting": 0, "--jointwtborder": 0, "--strict_bdr_cls": "", "--rlx_off_iter": "-1",
}  # fmt: skip


class WithoutEffect(argparse.Action):
    """Accept a flag that changes nothing, with one note unless it has its usual value, ``const``."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        if values != [self.const]:
            log.warning(f"note: {option_string} has no effect here; the authors' release knows it")


def add_without_effect(parser: argparse.ArgumentParser, flags: Mapping[str, int | str]) -> None:
    """Accept ``flags`` and keep them out of ``--help``."""
    for flag, known in flags.items():
        count, usual = (known, None) if isinstance(known, int) else (1, known)
        parser.add_argument(
            flag, nargs=count, const=usual, action=WithoutEffect, help=argparse.SUPPRESS, default=argparse.SUPPRESS
        )
    # torch.distributed.launch gives this one.
    parser.add_argument("--local_rank", "--local-rank", type=int, help=argparse.SUPPRESS, default=argparse.SUPPRESS)


def add_letters(group: Any, flag: str, other: str) -> None:
    """A flag whose letters name the data sets that the flag ``--other`` lists."""
    text = f"short for --{other}: {KNOWN_LETTERS}"
    group.add_argument(flag, dest=other, type=letters, default=argparse.SUPPRESS, help=text)


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
