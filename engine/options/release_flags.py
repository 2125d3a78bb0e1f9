"""Flags of the authors' release that are accepted and change nothing here (docs/commands.md says why)."""

import argparse
from collections.abc import Sequence
from typing import Any

from utils.log import log

TRAINING_WITHOUT_EFFECT = (
    "--tb_path", "--tb_tag", "--bs_mult_val", "--sgd", "--syncbn", "--adam", "--amsgrad", "--fp16", "--freeze_trunk",
    "--hardnm", "--trunk", "--rescale", "--repoly", "--scf", "--start_epoch", "--epoch_per_val", "--maxSkip", "--date",
    "--dist_url", "--use_wtloss", "--use_isw", "--visualize_feature",
)  # fmt: skip
EVALUATION_WITHOUT_EFFECT = (
    "--faster", "--syncbn", "--dist_bn", "--profile", "--trunk", "--dataset_dir", "--dataset_cls", "--resume",
    "--cv_split", "--trials", "--visualize_feature", "--mode", "--ablation_mode", "--fixed_aspp_pool", "--split_count",
    # The release asks for the options of training again; here the snapshot holds them.
    "--mem_slot", "--mem_dim", "--mem_momentum", "--mem_temp", "--relax_denom", "--clusters", "--use_wtloss",
    "--use_isw", "--cls_wt_loss", "--img_wt_loss", "--wt_bound", "--batch_weighting", "--jointwtborder",
    "--strict_bdr_cls", "--rlx_off_iter",
)  # fmt: skip


class WithoutEffect(argparse.Action):
    """Accept a flag that changes nothing, with one note."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        log.warning(f"note: {option_string} has no effect here; the authors' release knows it")


def add_without_effect(parser: argparse.ArgumentParser, flags: Sequence[str]) -> None:
    """Accept ``flags``, each with a value or without, and keep them out of ``--help``."""
    hidden = {"help": argparse.SUPPRESS, "default": argparse.SUPPRESS}
    for flag in flags:
        parser.add_argument(flag, nargs="?", action=WithoutEffect, **hidden)
    parser.add_argument("--local_rank", "--local-rank", type=int, **hidden)  # torch.distributed.launch gives it
