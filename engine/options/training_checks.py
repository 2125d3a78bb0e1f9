"""Which options of a training run contradict each other."""

from itertools import product
from pathlib import Path

from checkpoints import no_checkpoint
from datasets.labels import STANDARD
from datasets.options import BOOSTED
from datasets.registry import related
from datasets.shared_classes import shared_classes
from engine.encoder_report import special_encoder
from engine.options.parser import refuse_idle, refuse_if
from engine.options.training_options import TrainingOptions
from engine.tracker import need_tracker
from network.archs import check_norms
from optimizer.schedules import RATES
from utils.files import no_file
from utils.log import log
from utils.packages import need_kmeans
from utils.processes import world_size


def check_training(options: TrainingOptions) -> None:
    """UsageError for the first contradiction."""
    leaves = {"..", "/"} & {*Path(options.run.exp).parts} and not options.run.checkpoint
    refuse_if(leaves, f"--exp {options.run.exp}: lies outside of --exp_root; give a name, and the place by --exp_root")
    if options.optimizer.optimizer == "adamw" and options.optimizer.lr >= RATES["sgd"]["lr"]:
        log.warning(f"note: --lr {options.optimizer.lr:g} is a rate for SGD; usual for adamw is {RATES['adamw']['lr']}")
    check_needs(options)
    check_whitening(options)
    check_step(options)
    check_sampling(options)
    check_network(options)
    check_classes(options)
    need_tracker(options.run.tracker)
    check_domains(options)


def check_needs(options: TrainingOptions) -> None:
    loss, whitening, sampling = options.segmentation, options.whitening, options.sampling
    boosting = sampling.class_uniform and BOOSTED in options.run.sources
    fresh, snapshot, optimizer = options.run.fresh, options.run.snapshot, options.optimizer
    boosted_by = f"--class_uniform_pct and {BOOSTED} as a source"
    refuse_idle(
        ("--wt_bound", loss.bound != 1, loss.image_weights, "--img_wt_loss"),
        ("--batch_weighting", loss.joint, loss.image_weights, "--img_wt_loss"),
        ("--strict_bdr_cls", loss.strict, loss.relaxed, "--jointwtborder"),
        ("--rlx_off_iter", loss.relaxed_until >= 0, loss.relaxed, "--jointwtborder"),
        ("--wt_reg_weight", whitening.weight, whitening.active, "--wt_layer 1 or 2"),
        ("--dynamic", whitening.dynamic, whitening.selective, "--wt_layer 2 and --wt_reg_weight"),
        ("--coarse_boost_classes", sampling.boosted_classes, boosting, boosted_by),
        ("--fresh", fresh, snapshot, "--snapshot"),
        ("--momentum", optimizer.momentum != 0.9, optimizer.optimizer == "sgd", "--optimizer sgd"),
        ("--fresh memory", "memory" in fresh, options.entry.memory, "--memory"),
    )


def check_whitening(options: TrainingOptions) -> None:
    loss, denominator = options.whitening, options.whitening.relax_denom
    nothing = loss.active and 0 < denominator <= 1
    refuse_if(nothing, f"--relax_denom {denominator:g}: leaves nothing to whiten; give more than 1, or 0 for none")
    unselected = loss.selective and not loss.trials
    refuse_if(unselected, "--trials 0: --wt_layer 2 must select its entries at least once; give 1 or more")
    if loss.clustered:
        refuse_if(loss.clusters < 2, f"--clusters {loss.clusters}: --wt_layer 2 spares one cluster; give at least 2")
        need_kmeans()  # k-means runs after the first epochs only: a missing package must be an error now


def check_step(options: TrainingOptions) -> None:
    parts, size, processes = options.step.parts, options.sampling.batch_size, world_size()
    given = f"--accumulate {parts}"
    remedy = "drop it, take --checkpoint_activations or more processes"
    together = parts > 1 and options.entry.memory
    refuse_if(together, f"{given}: the memory is written from a whole batch; {remedy}")
    refuse_if(size % parts, f"{given}: does not divide --bs_mult {size}; give a divisor of it")
    domains = len(options.run.sources) if options.entry.pooled and not options.sampling.joined else 1
    single = size // parts * processes * domains < 2
    refuse_if(single, f"--bs_mult {size}: batch norm needs two images in every pass; give {2 * parts} or more")
    refuse_if(options.step.compile and processes > 1, "--compile: works for a single process only; give --no-compile")


def check_sampling(options: TrainingOptions) -> None:
    low, high = options.augmentation.scale_min, options.augmentation.scale_max
    refuse_if(low > high, f"--scale_min {low} is above --scale_max {high}: exchange them")
    if options.entry.mldg:
        (first, *others), title = options.run.sources, options.entry.title
        twice = f"name another one, or this one twice (--dataset {first} {first})"
        refuse_if(not others, f"--dataset {first}: {title} needs two domains: {twice}, or take another --method")
        joined = "--image_uniform_sampling: --mldg needs images of every domain in each iteration; drop either"
        refuse_if(options.sampling.joined, joined)


def check_network(options: TrainingOptions) -> None:
    """What can be checked without building the network."""
    network, run = options.network, options.run
    check_norms(
        network.arch, network.wt_layer, output_stride=network.output_stride, side=options.augmentation.crop_size
    )
    if special_encoder(network):
        check_encoder(options)
    if run.checkpoint:
        return
    if run.snapshot:
        problem = no_checkpoint(run.snapshot)
        refuse_if(problem, f"--snapshot {run.snapshot}: {problem}; give the path of a checkpoint")
    elif (backbone := network.pretrained_backbone) not in ("imagenet", "none"):
        problem, remedy = no_file(Path(backbone)), "give imagenet, none or the path of a file"
        refuse_if(problem, f"--pretrained_backbone {backbone}: {problem}; {remedy}")


def check_encoder(options: TrainingOptions) -> None:
    """What can be checked by building the network without values."""
    network, side = options.network, options.augmentation.crop_size
    frozen = any(network.wt_layer) and (network.tune != "all" or network.norms == "freeze")
    refuse_if(frozen, "--wt_layer: added norms must train; give --tune all, and not --backbone_norms freeze")
    from engine.build import outline

    multiple = outline(options).multiple
    remedy = f"give a multiple of {multiple}, such as {max(1, round(side / multiple)) * multiple}"
    refuse_if(side % multiple, f"--crop_size {side}: {network.arch} has cells of {multiple} pixels; {remedy}")


def check_classes(options: TrainingOptions) -> None:
    """What depends on the classes of the data sets."""
    classes = shared_classes([*options.run.sources, *options.run.targets])
    loss, slots, count = options.segmentation, options.network.slots, len(classes)
    few = options.entry.memory and slots and slots < count
    refuse_if(few, f"--mem_slot {slots}: every one of the {count} classes needs a slot")
    if loss.class_weights:
        refuse_if(loss.image_weights, "--cls_wt_loss and --img_wt_loss both weight the classes: drop one of them")
        other = classes.names != STANDARD.names
        weights = f"has the weights of the {len(STANDARD)} classes of Cityscapes, and these data sets have others"
        refuse_if(other, f"--cls_wt_loss: {weights}; take --img_wt_loss")
    given = {"--strict_bdr_cls": loss.strict, "--coarse_boost_classes": options.sampling.boosted_classes}
    for flag, ids in given.items():
        last = max(ids or (0,))
        refuse_if(last >= count, f"{flag}: {last}: give classes from 0 to {count - 1}, separated by commas")


def check_domains(options: TrainingOptions) -> None:
    """A data set and its part under a condition, such as acdc and acdc_fog, are no source and unseen domain."""
    for target, source in product(options.run.targets, options.run.sources):
        problem = f"belongs with the source {source}, so it is no unseen domain: leave it out, and score it by eval.py"
        refuse_if(target != source and related(target, source), f"--val_dataset {target}: {problem}")
