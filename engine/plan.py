"""What a training run would do, told before anything is done and without torch."""

from argparse import Namespace
from collections.abc import Iterator
from itertools import chain

from datasets.labels import STANDARD
from engine.data_report import (
    classes_of,
    coarse_pairs,
    count,
    data_set,
    found_how,
    labelled_images,
    notes,
    validation_sets,
)
from engine.loading_cost import loading
from engine.options.data_flags import BOOSTED
from engine.options.recipes import RECIPES
from engine.options.whitening_flags import SELECTIVE, WHITENED, first_selection, selects, whitens
from optimizer.schedules import decay_factor
from utils.processes import world_size

METHODS = {  # (--mldg, --memory)
    (False, False): "the baseline",
    (True, False): "MLDG",
    (False, True): "the memory without meta-learning",
    (True, True): "Pin the Memory",
}
PRECISIONS = {  # --amp
    "auto": "bf16 on a GPU, else float32; TF32 off",
    "bf16": "bf16; TF32 off",
    "tf32": "float32 with products in TF32 on a GPU, else true float32",
    "off": "true float32, TF32 off",
}


def plan(args: Namespace) -> str:
    """The plan as text; images are counted, so that missing data is an error here already."""
    about_images = what, data, loading, footprint, sampling
    paragraphs = *about_images, loss, whitening, schedule, numbers, validation, output, recipe
    lines = list(chain.from_iterable(paragraph(args) for paragraph in paragraphs))
    told_once = dict.fromkeys(line for line in lines if line.startswith("note: "))
    return "\n".join([*(line for line in lines if line not in told_once), *told_once])


def what(args: Namespace) -> Iterator[str]:
    yield f"method      {METHODS[args.mldg, args.memory]}, {args.arch.rpartition('.')[2]}, seed {args.seed}"
    if args.checkpoint:
        yield f"goes on     from {args.checkpoint}"
    elif args.snapshot:
        yield f"starts      from the weights{' and the memory' if args.memory else ''} of {args.snapshot}"
    elif args.memory:
        yield f"memory      first written from {args.mem_init_batches:,} batches that training does not see"


def data(args: Namespace) -> Iterator[str]:
    processes = world_size()
    per_iteration = args.bs_mult * processes
    joined = args.image_uniform_sampling
    told = f"{args.bs_mult} images {of_domains(args)}"
    told += f" in each of {processes} processes" if processes > 1 else ""
    in_all = per_iteration * (1 if joined else len(args.dataset))
    classes = classes_of(args)
    if classes.names != STANDARD.names:
        yield f"classes     {len(classes)}: {', '.join(classes.names)}"
    yield f"batch       {told}, {in_all} images in all, crop {args.crop_size}"
    unusual = [f"a shorter side of {args.pre_size} before scaling"] if args.pre_size else []
    unusual += ["a bilateral blur"] if args.bblur else []
    unusual += ["normalised by their own mean and deviation (--image_in)"] if args.image_in else []
    if unusual:
        yield f"images      {', '.join(unusual)}"
    rows = [data_set(args, name) for name in args.dataset]
    found = [row.pairs(args.data_root, "train") for row in rows]
    for name, pairs in zip([row.name for row in rows], found, strict=True):
        epochs = args.max_iter * per_iteration / (sum(map(len, found)) if joined else len(pairs))
        yield f"source      {name}: {count(pairs)}, {epochs:,.2f} epochs"
        yield f"            {found_how(pairs)}"
        yield from notes(pairs)
    if args.mldg:
        who = {"role": "the domains that are meta-test in an iteration", "first_domain": f"{rows[0].name}, always"}
        yield f"roles       drawn anew in every iteration; strong jitter: {who[args.meta_aug]}"


def of_domains(args: Namespace) -> str:
    return "of all domains together" if args.image_uniform_sampling else "per domain"


def footprint(args: Namespace) -> Iterator[str]:
    """How a step takes less memory."""
    if args.accumulate > 1:
        size = f"{args.bs_mult // args.accumulate} images {of_domains(args)}"
        yield f"parts       {args.accumulate} per batch, of {size}; their gradients are summed"
    if args.checkpoint_activations:
        yield "activations of the backbone's stages are computed again for the gradient"


def sampling(args: Namespace) -> Iterator[str]:
    if args.class_uniform_pct:
        last = min(args.max_iter, uniform_iterations(args))
        until = "" if last == args.max_iter else f", until iteration {last:,}"
        tiles = f"tiles of at most {args.class_uniform_tile} pixels a side"
        yield f"sampling    {args.class_uniform_pct:.0%} of the images by class, from {tiles}{until}"
        if args.coarse_boost_classes:
            named = ", ".join(STANDARD.names[index] for index in args.coarse_boost_classes)
            yield f"            of {named} also from the coarse labels of {BOOSTED}: {count(coarse_pairs(args))}"


def uniform_iterations(args: Namespace) -> int:
    """How many iterations the epochs with class-uniform samples take."""
    per_iteration = args.bs_mult * world_size()
    return -(-args.max_cu_epoch * args.epoch_size // per_iteration)


def loss(args: Namespace) -> Iterator[str]:
    """What is special about the segmentation loss."""
    if args.cls_wt_loss:
        yield "loss        classes weighted as for Cityscapes"
    if args.img_wt_loss:
        what = "batch" if args.batch_weighting else "image"
        yield f"loss        classes weighted by how little each {what} shows them, 1 to {1 + args.wt_bound:g}"
    if args.jointwtborder:
        classes = classes_of(args)
        strict = ", ".join(classes.names[index] for index in args.strict_bdr_cls or ())
        until = f" before iteration {args.rlx_off_iter:,}" if args.rlx_off_iter >= 0 else ""
        yield f"loss        relaxed at borders{until}" + (f", but not for {strict}" if strict else "")


def whitening(args: Namespace) -> Iterator[str]:
    """Which covariances are whitened, and when those of selective layers are chosen."""
    if not whitens(args):
        if named := sorted({*WHITENED} & {*args.wt_layer}):
            told = " and ".join(map(str, named))
            yield f"whitening   none: --wt_layer {told} normalises only, since --wt_reg_weight is 0"
        return
    every, spared = "all entries", f"the lowest of {args.clusters} clusters"
    if args.relax_denom:
        every = f"all entries, as far as they exceed 1/{args.relax_denom:g} on average"
        spared = f"one in {args.relax_denom:g}"
    kinds = {1: every, SELECTIVE: f"all entries but {spared}"}
    for kind, told in kinds.items():
        if count := args.wt_layer.count(kind):
            layers = f"{count} layer" + "s" * (count > 1)
            yield f"whitening   weight {args.wt_reg_weight:g}, of {layers} with --wt_layer {kind}: {told}"
    if selects(args):
        first = first_selection(args)
        again = f", and again after every {first:,} more" if args.dynamic else ""
        never = "" if first < args.max_iter else ", which is past the end: they are not whitened"
        yield f"            selected after iteration {first:,}{again}{never}"
        for name in args.covstat_val_dataset:
            images = labelled_images(args, name, "val", args.covstat_images)
            yield f"            by {len(images):,} images of {images.spec.name}, {args.trials} times"


def schedule(args: Namespace) -> Iterator[str]:
    settings = {"schedule": args.lr_schedule, "exponent": args.poly_exp, "horizon": args.decay_horizon}
    start, half, end = (
        args.lr * decay_factor(iteration, **settings) for iteration in (0, args.max_iter // 2, args.max_iter)
    )
    yield f"iterations  {args.max_iter:,}"
    yield f"lr          {start:.3g} at the start, {half:.3g} half way, {end:.3g} at the end ({args.lr_schedule})"


def numbers(args: Namespace) -> Iterator[str]:
    """In which precision, and how, torch computes."""
    told = [PRECISIONS[args.amp]]
    beside = ", but for the backbone's stages, which are computed again" if args.checkpoint_activations else ""
    told += [f"compiled{beside}"] if args.compile else []
    told += ["deterministic"] if args.deterministic else []
    yield f"numbers     {', '.join(told)}"


def validation(args: Namespace) -> Iterator[str]:
    yield f"validated   every {validation_interval(args):,} iterations and at the end"
    for role, sets in zip(("seen", "unseen"), validation_sets(args), strict=True):
        best = ", decides which checkpoint is best" if role == "seen" else ""
        for images in sets:
            yield f"            {images.spec.name} ({role}): {len(images):,} of {count(images.found)}{best}"
            yield f"            {found_how(images.found)}"
            yield from notes(images.found)


def validation_interval(args: Namespace) -> int:
    return args.val_interval or max(1, args.max_iter // 10)


def output(args: Namespace) -> Iterator[str]:
    folder = args.checkpoint.parent if args.checkpoint else args.exp_root / args.exp / "<time>"
    yield f"written     to {folder}: flags.json, metrics.jsonl (every iteration), tensorboard/,"
    yield f"            a checkpoint every {args.save_interval:,} iterations, at each validation and at the end: the"
    yield f"            newest {args.keep} as iteration_*.pth, the newest as last.pth too, the best as best.pth"


def recipe(args: Namespace) -> Iterator[str]:
    yield f"recipe      {args.recipe}"
    for name, usual in RECIPES[args.recipe].items():
        value = getattr(args, name, usual)  # some are for eval.py only
        yield f"            --{name} {value}" + ("" if value == usual else f" (not the recipe's {usual})")
    if "decay_horizon" not in RECIPES[args.recipe]:
        yield f"            --decay_horizon {args.decay_horizon}"
