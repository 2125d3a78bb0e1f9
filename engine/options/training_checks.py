"""Which options of a training run contradict each other."""

from pathlib import Path

from datasets.labels import STANDARD, ClassSet
from datasets.options import BOOSTED
from datasets.shared_classes import shared_classes
from engine.options.training_options import TrainingOptions
from network.archs import check_norms
from utils.errors import CommonError, UsageError
from utils.packages import need_kmeans
from utils.processes import world_size


def check_training(options: TrainingOptions) -> None:
    """CommonError for the first contradiction."""
    try:
        check_method(options)
        check_segmentation(options)
        check_whitening(options)
        check_step(options)
        check_sampling(options)
        check_network(options)
        check_classes(options, shared_classes([*options.run.sources, *options.run.targets]))
    except UsageError as error:
        raise CommonError(str(error)) from error


def check_method(options: TrainingOptions) -> None:
    low, high = options.augmentation.scale_min, options.augmentation.scale_max
    if low > high:
        raise UsageError(f"--scale_min {low} is above --scale_max {high}: exchange them")
    if options.entry.mldg and len(options.run.sources) < 2:
        raise UsageError("--mldg needs two domains: name two, e.g. --dataset gtav gtav, or drop --mldg")


def check_segmentation(options: TrainingOptions) -> None:
    loss = options.segmentation
    if loss.class_weights and loss.image_weights:
        raise UsageError("--cls_wt_loss and --img_wt_loss both weight the classes: drop one of them")
    needs = {
        "--wt_bound": (loss.bound != 1, loss.image_weights, "--img_wt_loss"),
        "--batch_weighting": (loss.joint, loss.image_weights, "--img_wt_loss"),
        "--strict_bdr_cls": (loss.strict, loss.relaxed, "--jointwtborder"),
        "--rlx_off_iter": (loss.relaxed_until >= 0, loss.relaxed, "--jointwtborder"),
    }
    for flag, (given, used, needed) in needs.items():
        if given and not used:
            raise UsageError(f"{flag} changes nothing without {needed}: add that, or drop {flag}")


def check_whitening(options: TrainingOptions) -> None:
    loss = options.whitening
    if loss.weight and not loss.active:
        raise UsageError("--wt_reg_weight changes nothing without --wt_layer 1 or 2: add that, or drop --wt_reg_weight")
    if loss.dynamic and not loss.selective:
        raise UsageError(
            "--dynamic changes nothing without --wt_layer 2 and --wt_reg_weight: add these, or drop --dynamic"
        )
    if loss.active and 0 < loss.relax_denom <= 1:
        raise UsageError(
            f"--relax_denom {loss.relax_denom:g}: leaves nothing to whiten; give more than 1, or 0 for none"
        )
    if loss.selective and not loss.trials:
        raise UsageError("--trials 0: --wt_layer 2 must select its entries at least once; give 1 or more")
    if loss.clustered and loss.clusters < 2:
        raise UsageError(
            f"--clusters {loss.clusters}: --wt_layer 2 spares one cluster; give at least 2, or --relax_denom"
        )
    if loss.clustered:
        need_kmeans()  # k-means runs after the first epochs only: a missing package must be an error now


def check_step(options: TrainingOptions) -> None:
    parts, size = options.step.parts, options.sampling.batch_size
    if parts > 1 and options.entry.memory:
        raise UsageError(
            f"--accumulate {parts}: the memory is written from a whole batch, and its losses are no sums over parts; "
            "drop --accumulate, and take --checkpoint_activations or more processes"
        )
    if size % parts:
        raise UsageError(f"--accumulate {parts}: does not divide --bs_mult {size}; give a divisor of it")
    # MLDG may pass over a single domain.
    domains = 1 if options.entry.mldg or options.sampling.joined else len(options.run.sources)
    if size // parts * world_size() * domains < 2:
        given = f"--bs_mult {size}" + (f" --accumulate {parts}" if parts > 1 else "")
        raise UsageError(f"{given}: batch norm needs two images in every pass; give --bs_mult {2 * parts} or more")
    if options.step.compile and world_size() > 1:
        raise UsageError(
            "--compile: works for a single process only, whose batch norms send no messages; give --no-compile"
        )


def check_sampling(options: TrainingOptions) -> None:
    sampling, flags = options.sampling, options.flags
    if sampling.joined and options.entry.mldg:
        raise UsageError("--image_uniform_sampling: --mldg needs images of every domain in each iteration; drop either")
    # The release's other splits leave no held-out images that could choose the best checkpoint.
    if flags["cv"] != 0:
        raise UsageError(f"--cv {flags['cv']}: only the standard split of Cityscapes is known; give 0 or leave it out")
    if flags["city_mode"] != "train":
        raise UsageError(
            f"--city_mode {flags['city_mode']}: only the training images of Cityscapes are trained on, the others "
            "choose the best checkpoint; give train or leave it out"
        )
    if sampling.boosted_classes and not (sampling.class_uniform and BOOSTED in options.run.sources):
        raise UsageError(
            f"--coarse_boost_classes changes nothing without --class_uniform_pct and {BOOSTED} among the sources: add "
            "these, or drop --coarse_boost_classes"
        )


def check_network(options: TrainingOptions) -> None:
    """What can be checked without building the network."""
    network, run = options.network, options.run
    check_norms(
        network.arch, network.wt_layer, output_stride=network.output_stride, side=options.augmentation.crop_size
    )
    if run.checkpoint:
        return
    backbone = network.pretrained_backbone
    if run.snapshot and not run.snapshot.is_file():
        raise UsageError(f"--snapshot {run.snapshot}: no such file; give the path of a checkpoint")
    if not run.snapshot and backbone not in ("imagenet", "none") and not Path(backbone).is_file():
        raise UsageError(f"--pretrained_backbone {backbone}: no such file; give imagenet, none or the path of a file")


def check_classes(options: TrainingOptions, classes: ClassSet) -> None:
    """What depends on the classes of the data sets."""
    slots, count = options.network.slots, len(classes)
    if options.entry.memory and slots and slots < count:
        raise UsageError(f"--mem_slot {slots}: every one of the {count} classes needs a slot")
    if options.segmentation.class_weights and classes.names != STANDARD.names:
        raise UsageError(
            f"--cls_wt_loss: has the weights of the {len(STANDARD)} classes of Cityscapes, and these data sets have "
            f"{count} other classes; take --img_wt_loss, or none"
        )
    given = {"strict_bdr_cls": options.segmentation.strict, "coarse_boost_classes": options.sampling.boosted_classes}
    for flag, ids in given.items():
        if wrong := [index for index in ids or () if index >= count]:
            raise UsageError(f"--{flag}: {wrong[0]}: give classes from 0 to {count - 1}, separated by commas")
