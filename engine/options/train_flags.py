"""The command line of ``train.py``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets.labels import IGNORE, STANDARD, ClassSet
from engine.data_report import classes_of
from engine.options import flags
from engine.options.data_flags import TRIAL, add_sampling, add_training_data, check_data
from engine.options.flags import ANY, COUNT, FACTOR, SHARE, WEIGHT, asked_for, number, user_path
from engine.options.footprint_flags import add_footprint, check_footprint
from engine.options.recipes import apply_recipe
from engine.options.resuming import flags_of_run, refuse_changes
from engine.options.whitening_flags import add_whitening, check_whitening
from network.archs import check_norms
from utils.errors import UsageError
from utils.processes import rank

ARCH = "network.deepv3plus.DeepR50V3PlusD"
WITHOUT_EFFECT = {  # flags that the release parses and never uses, or cannot switch off: number of values, or usual one
    "--tb_tag": 1, "--bs_mult_val": "1",
    "--sgd": 0, "--syncbn": 0, "--adam": 0, "--amsgrad": 0, "--fp16": 0, "--freeze_trunk": 0, "--hardnm": 1,
    "--trunk": 1, "--rescale": 1, "--repoly": 1, "--scf": 0, "--start_epoch": 1, "--epoch_per_val": 1,
    "--maxSkip": 1, "--date": 1, "--dist_url": 1, "--use_wtloss": 0, "--use_isw": 0, "--visualize_feature": 0,
}  # fmt: skip


def parse_training(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags in full; those of a run that goes on are its own."""
    parser = training_parser()
    if asked_for("--test_mode", argv):
        parser.set_defaults(**TRIAL)
    before = flags_of_run(argv)
    args = parser.parse_args(argv, namespace=argparse.Namespace(**before))
    if args.restore_optimizer and before:  # --snapshot was only another way to name the run
        args.snapshot = before.get("snapshot")
    if args.snapshot:
        args.snapshot = flags.given_weights(args.snapshot).absolute()
    for sets in ("dataset", "val_dataset", "covstat_val_dataset"):
        setattr(args, sets, flags.data_sets(parser, getattr(args, sets) or (), args.data_root))
    refuse_changes(args, before, parser.get_default)
    if args.scale_min > args.scale_max:
        parser.error(f"--scale_min {args.scale_min} is above --scale_max {args.scale_max}: exchange them")
    if args.mldg and len(args.dataset) < 2:
        parser.error("--mldg needs two domains: name two, e.g. --dataset gtav gtav, or drop --mldg")
    check_losses(parser, args)
    check_whitening(parser, args)
    check_footprint(parser, args)
    check_data(parser, args)
    check_network(args)
    note_tensorboard(args)
    apply_recipe(args)
    check_classes(parser, args, classes_of(args))
    return args


def training_parser() -> argparse.ArgumentParser:
    parser = flags.Parser(
        prog="train.py",
        description="Train on source domains, validate on domains never seen. Methods: none of --mldg and --memory is "
        "the baseline, --mldg meta-learning, --memory the memory alone, both are Pin the Memory.",
    )
    parser.set_defaults(checkpoint=None)  # where --resume leads
    flags.add_recipe(parser)
    add_training_data(parser)
    add_sampling(parser.add_argument_group("sampling"))
    flags.add_reading_flags(parser.add_argument_group("evaluation"))
    add_network(parser.add_argument_group("network"))
    add_method(parser.add_argument_group("method"))
    add_losses(parser.add_argument_group("segmentation loss"))
    add_whitening(parser.add_argument_group("whitening"))
    add_optimisation(parser.add_argument_group("optimisation"))
    add_run(parser.add_argument_group("run"))
    machine = parser.add_argument_group("machine")
    flags.add_machine(machine)
    add_footprint(machine)
    add_algorithms(machine)
    parser.add_argument("--local_rank", "--local-rank", type=int, help=argparse.SUPPRESS)  # torch.distributed.launch
    flags.add_without_effect(parser, WITHOUT_EFFECT)
    return parser


def add_network(group: Any) -> None:
    group.add_argument("--arch", default=ARCH, help="the release's name of a network; any other lists them")
    flags.add_output_stride(group)
    group.add_argument(
        "--pretrained_backbone", default="imagenet", metavar="imagenet|none|FILE", help="where the backbone starts"
    )
    flags.add_layer_norms(group, default=[0] * flags.WT_LAYERS, told="IBN-Net's networks have 0 0 4 4 4 0 0")
    group.add_argument(
        "--snapshot", type=user_path, metavar="FILE", help="start from the weights, and the memory, of this "
        "checkpoint of train.py or of the authors, instead of a backbone's"
    )  # fmt: skip
    group.add_argument("--memory", action="store_true", help="add the categorical memory")
    group.add_argument(
        "--mem_slot", type=number(int, 1, IGNORE), metavar="N", help="memory items (default: one per class)"
    )
    group.add_argument("--mem_dim", type=COUNT, default=256, metavar="N", help="width of an item")
    group.add_argument("--mem_momentum", type=SHARE, default=0.8, help="share of the old item in a write")
    group.add_argument("--read_temp", type=FACTOR, default=1.0, help="temperature of the read weights")


def check_network(args: argparse.Namespace) -> None:
    """What can be told without building it."""
    check_norms(args.arch, args.wt_layer, output_stride=args.output_stride, side=args.crop_size)
    if args.checkpoint:
        return
    if args.snapshot:
        if not args.snapshot.is_file():
            raise UsageError(f"--snapshot {args.snapshot}: no such file; give the path of a checkpoint")
    elif args.pretrained_backbone not in ("imagenet", "none") and not Path(args.pretrained_backbone).is_file():
        raise UsageError(
            f"--pretrained_backbone {args.pretrained_backbone}: no such file; give imagenet, none or the path of one"
        )


def check_classes(parser: argparse.ArgumentParser, args: argparse.Namespace, classes: ClassSet) -> None:
    """What depends on the classes of the data sets."""
    count = len(classes)
    if args.memory and args.mem_slot and args.mem_slot < count:
        raise UsageError(f"--mem_slot {args.mem_slot}: every one of the {count} classes needs a slot")
    if args.cls_wt_loss and classes.names != STANDARD.names:
        parser.error(
            f"--cls_wt_loss: has the weights of the {len(STANDARD)} classes of Cityscapes, and these data sets have "
            f"{count} others; take --img_wt_loss, or none"
        )
    for flag in ("strict_bdr_cls", "coarse_boost_classes"):
        if wrong := [index for index in getattr(args, flag) or () if index >= count]:
            parser.error(f"--{flag}: {wrong[0]}: give classes from 0 to {count - 1}, separated by commas")


def add_method(group: Any) -> None:
    group.add_argument("--mldg", action="store_true", help="split the domains into meta-train and meta-test")
    group.add_argument("--inner_lr", type=FACTOR, default=1e-3, help="step of the look-ahead")
    group.add_argument("--inner_lr_anneal", action="store_true", help="a quarter of lr from the second iteration on")
    group.add_argument("--no_aux_loss", action="store_true", help="no auxiliary head")
    group.add_argument("--mem_readloss", type=WEIGHT, default=0.02, metavar="W", help="weight of feature cohesion")
    group.add_argument("--mem_divloss", type=WEIGHT, default=0.4, metavar="W", help="weight of memory divergence")
    group.add_argument("--mem_clsloss", type=WEIGHT, default=0.2, metavar="W", help="weight of item classification")
    group.add_argument("--mem_temp", type=FACTOR, default=1.0, help="temperature of feature cohesion")
    group.add_argument("--gumbel_off", action="store_true", help="no Gumbel noise in any memory read")
    group.add_argument("--mem_init_batches", type=COUNT, metavar="N", help="batches for the first memory [recipe]")


def add_losses(group: Any) -> None:
    group.add_argument("--cls_wt_loss", action="store_true", help="weigh the classes, as for Cityscapes")
    group.add_argument("--img_wt_loss", action="store_true", help="weigh the classes by how little an image shows them")
    group.add_argument("--wt_bound", type=WEIGHT, default=1.0, metavar="W", help="what that adds to a weight at most")
    group.add_argument("--batch_weighting", action="store_true", help="weigh by the whole batch, not by each image")
    group.add_argument("--jointwtborder", action="store_true", help="at borders any class next to a pixel is right")
    group.add_argument(
        "--strict_bdr_cls",
        type=flags.classes,
        metavar="A,B,...",
        help='but not for pixels of these classes, e.g. "5,6,7"',
    )
    group.add_argument(
        "--rlx_off_iter",
        type=number(int, -1),
        default=-1,
        metavar="N",
        help="and only before this iteration; -1: always",
    )


def check_losses(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if args.cls_wt_loss and args.img_wt_loss:
        parser.error("--cls_wt_loss and --img_wt_loss both weigh the classes: drop one of them")
    without_effect = {
        "--wt_bound": (args.wt_bound != 1, args.img_wt_loss, "--img_wt_loss"),
        "--batch_weighting": (args.batch_weighting, args.img_wt_loss, "--img_wt_loss"),
        "--strict_bdr_cls": (args.strict_bdr_cls, args.jointwtborder, "--jointwtborder"),
        "--rlx_off_iter": (args.rlx_off_iter >= 0, args.jointwtborder, "--jointwtborder"),
    }
    for flag, (given, used, needed) in without_effect.items():
        if given and not used:
            parser.error(f"{flag} changes nothing without {needed}: add that, or drop {flag}")


def add_optimisation(group: Any) -> None:
    group.add_argument("--max_iter", type=COUNT, metavar="N", help="iterations (default: the published length)")
    group.add_argument("--lr", type=FACTOR, default=0.01, help="learning rate at the start")
    group.add_argument("--momentum", type=SHARE, default=0.9, help="of SGD")
    group.add_argument("--weight_decay", type=WEIGHT, default=5e-4, help="on all parameters")
    group.add_argument("--lr_schedule", choices=("exp", "poly"), default="exp", help="see optimizer/schedules.py")
    group.add_argument(
        "--poly_exp", type=WEIGHT, metavar="X", help="the schedule's exponent (default: exp 9, poly 0.9)"
    )
    group.add_argument(
        "--decay_horizon",
        type=COUNT,
        metavar="N",
        help="where poly ends and exp has come down to exp(-X), 1/8103 by default: for exp several times --max_iter "
        "[recipe]",
    )


def add_run(group: Any) -> None:
    group.add_argument("--exp", default="default", metavar="NAME", help="name of the experiment")
    group.add_argument("--exp_root", "--ckpt", type=flags.lasting_path, default=flags.EXPERIMENTS, metavar="DIR",
                       action=flags.OneFolder, help="all runs")  # fmt: skip
    group.add_argument("--tb_path", type=flags.lasting_path, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    group.add_argument(
        "--resume", metavar="auto|PATH", help="go on with a run: the newest of --exp, or that folder or checkpoint; "
        "its flags need not be repeated"
    )  # fmt: skip
    group.add_argument("--restore_optimizer", action="store_true", help="with --snapshot: the same as --resume")
    group.add_argument("--save_interval", type=COUNT, default=500, metavar="N", help="iterations between checkpoints")
    group.add_argument("--keep", type=COUNT, default=2, metavar="K", help="checkpoints that stay, beside the best")
    group.add_argument(
        "--test_mode", action="store_true", help="a quick trial: crop 240, 2 images per domain, 60 iterations, 4 "
        "batches for the first memory, 12 images per validation; flags that are given win"
    )  # fmt: skip
    group.add_argument(
        "--dump_augmentation_images", action="store_true", help="write the samples of the first four iterations, with "
        "their labels in colours, into the folder of the run"
    )  # fmt: skip
    group.add_argument("--plan", action="store_true", help="say what would be done, and end")
    group.add_argument("--val_interval", type=ANY, default=0, metavar="N", help="iterations between validations; "
                       "0: a tenth of the run")  # fmt: skip
    group.add_argument("--val_images", type=ANY, default=100, metavar="N", help="images per domain in these; 0: all")
    group.add_argument("--log_interval", type=COUNT, default=20, metavar="N", help="iterations between logs")
    group.add_argument("--seed", type=flags.number(int, 0, 2**63 - 1), default=304, help="of everything random")


def add_algorithms(group: Any) -> None:
    flags.add_switch(
        group,
        "--compile",
        "let torch compile the network, which takes minutes at the start; for a single process, and not in validations",
    )
    told = "only algorithms that give the same bits every time on a GPU, which are slower"
    flags.add_switch(group, "--deterministic", told)


def note_tensorboard(args: argparse.Namespace) -> None:
    """TensorBoard's files lie in the folder of the run: another place is not kept to, which is told."""
    asked = vars(args).pop("tb_path", args.exp_root)
    if asked != args.exp_root and rank() == 0:
        place = args.exp_root / args.exp
        print(f"note: --tb_path has no effect here; TensorBoard finds the runs with --logdir {place}", file=sys.stderr)
