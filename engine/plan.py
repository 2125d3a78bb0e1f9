"""The plan of a training run as text.  It prints what other modules decide, and needs no torch."""

from collections.abc import Iterator

from datasets.labels import STANDARD
from datasets.options import BOOSTED
from datasets.shared_classes import shared_classes
from engine.data_report import coarse_pairs, count, joined, validation_sets, whereabouts
from engine.encoder_report import encoder_lines, special_encoder
from engine.loading_cost import loading_line
from engine.options.recipes import RECIPES
from engine.options.training_options import TrainingOptions
from engine.timetable import timetable_of
from loss.options import SELECTIVE_KIND, WHITENED_KINDS
from network.archs import short_name
from utils.processes import world_size

PRECISIONS = {  # --amp
    "auto": "bf16 on a GPU, else float32; TF32 off",
    "bf16": "bf16; TF32 off",
    "tf32": "float32 with products in TF32 on a GPU, else true float32",
    "off": "true float32, TF32 off",
}


def plan(options: TrainingOptions) -> str:
    """The plan.  It counts the images, so missing data is an error here already."""
    paragraphs = (
        method_lines, data_lines, sampling_lines, loss_lines, whitening_lines, schedule_lines, validation_lines,
        output_lines,
    )  # fmt: skip
    return joined(line for paragraph in paragraphs for line in paragraph(options))


def method_lines(options: TrainingOptions) -> Iterator[str]:
    run, entry = options.run, options.entry
    yield f"method      {entry.title}, {short_name(options.network.arch)}, seed {run.seed}"
    if run.checkpoint:
        yield f"continues   from {run.checkpoint}"
    elif run.snapshot:
        memory = entry.memory and "memory" not in run.fresh
        fresh = f", with a new {' and a new '.join(run.fresh)}" if run.fresh else ""
        yield f"starts      from the weights{' and the memory' if memory else ''} of {run.snapshot}{fresh}"
    elif entry.memory:
        yield f"memory      first written from {run.first_memory_batches:,} batches that training does not see"
    if special_encoder(options.network):
        from engine.build import outline  # needs torch

        yield from encoder_lines(outline(options), options.network)


def data_lines(options: TrainingOptions) -> Iterator[str]:
    run, sampling, augmentation = options.run, options.sampling, options.augmentation
    classes = shared_classes([*run.sources, *run.targets])
    if classes.names != STANDARD.names:
        yield f"classes     {len(classes)}: {', '.join(classes.names)}"
    processes = f" in each of {world_size()} processes" if world_size() > 1 else ""
    per_domain = sampling.batch_size * world_size()
    total = per_domain * (1 if sampling.joined else len(run.sources))
    share = "of all domains together" if sampling.joined else "per domain"
    batch = f"{sampling.batch_size} images {share}{processes}"
    yield f"batch       {batch}, {total} images in all, crop {augmentation.crop_size}"
    special = {
        f"a shorter side of {augmentation.pre_size} before scaling": augmentation.pre_size,
        "a bilateral blur": augmentation.bblur,
        "normalised by their own mean and deviation (--image_in)": options.network.image_in,
    }
    if any(special.values()):
        yield f"images      {', '.join(text for text, used in special.items() if used)}"
    datasets = [options.data.dataset(name) for name in run.sources]
    sources = [dataset.pairs(options.data.root, "train") for dataset in datasets]
    for dataset, pairs in zip(datasets, sources, strict=True):
        images = sum(map(len, sources)) if sampling.joined else len(pairs)
        epochs = run.max_iter * per_domain / images
        yield f"source      {dataset.name}: {count(pairs)}, {epochs:,.2f} epochs"
        yield from whereabouts(pairs)
    if options.entry.mldg:
        jittered = {"role": "the meta-test domains", "first_domain": f"{datasets[0].name}, always", "none": "none"}
        yield f"roles       drawn anew in every iteration; strong jitter: {jittered[sampling.meta_aug]}"
    yield loading_line(options)
    if (parts := options.step.parts) > 1:
        size = f"{sampling.batch_size // parts} images {share}"
        yield f"parts       {parts} per batch, each of {size}; their gradients are summed"
    if options.step.recompute:
        yield "activations of the backbone's stages are computed again for the gradient"


def sampling_lines(options: TrainingOptions) -> Iterator[str]:
    sampling, times = options.sampling, timetable_of(options)
    if not sampling.class_uniform:
        return
    end = times.class_uniform_end
    until = f", until iteration {end:,}" if end < times.end else ""
    tiles = f"tiles of at most {sampling.tile} pixels a side"
    yield f"sampling    {sampling.class_uniform:.0%} of the images by class, from {tiles}{until}"
    if sampling.boosted_classes:
        names = ", ".join(STANDARD.names[index] for index in sampling.boosted_classes)
        yield f"            of {names} also from the coarse labels of {BOOSTED}: {count(coarse_pairs(options.data))}"


def loss_lines(options: TrainingOptions) -> Iterator[str]:
    loss = options.segmentation
    if loss.class_weights:
        yield "loss        classes weighted as for Cityscapes"
    if loss.image_weights:
        shown_by = "batch" if loss.joint else "image"
        yield f"loss        classes weighted by how little each {shown_by} shows them, 1 to {1 + loss.bound:g}"
    if loss.logit_adjust:
        yield f"loss        logits plus {loss.logit_adjust:g} log(share of the class in training)"
    if loss.relaxed:
        classes = shared_classes([*options.run.sources, *options.run.targets])
        strict = ", ".join(classes.names[index] for index in loss.strict or ())
        until = f" before iteration {loss.relaxed_until:,}" if loss.relaxed_until >= 0 else ""
        yield f"loss        relaxed at borders{until}{f', but not for {strict}' if strict else ''}"


def whitening_lines(options: TrainingOptions) -> Iterator[str]:
    """Which covariances are whitened, and when the entries of selective layers are selected."""
    loss, times = options.whitening, timetable_of(options)
    if not loss.active:
        if kinds := sorted({*WHITENED_KINDS} & {*loss.wt_layer}):
            named = " and ".join(map(str, kinds))
            yield f"whitening   none: --wt_layer {named} normalises only, since --wt_reg_weight is 0"
        return
    margin = f", where they exceed 1/{loss.relax_denom:g} on average" if loss.relax_denom else ""
    spared = f"one in {loss.relax_denom:g}" if loss.relax_denom else f"the lowest of {loss.clusters} clusters"
    for kind, entries in {1: f"all entries{margin}", SELECTIVE_KIND: f"all entries but {spared}"}.items():
        if layers := loss.wt_layer.count(kind):
            plural = "s" if layers > 1 else ""
            yield f"whitening   weight {loss.weight:g}, of {layers} layer{plural} with --wt_layer {kind}: {entries}"
    if not loss.selective:
        return
    first = times.first_selection
    again = f", and again after every {first:,} more" if loss.dynamic else ""
    never = ", which is past the end: they are not whitened" if first >= times.end else ""
    yield f"            selected after iteration {first:,}{again}{never}"
    for name in loss.datasets:
        images = options.data.images(name, "val", loss.images)
        yield f"            by {len(images):,} images of {images.spec.name}, {loss.trials} times"


def schedule_lines(options: TrainingOptions) -> Iterator[str]:
    end = options.run.max_iter
    start, half, last = (options.optimizer.rate(iteration) for iteration in (0, end // 2, end))
    yield f"iterations  {end:,}"
    rates = f"{start:.3g} at the start, {half:.3g} half way, {last:.3g} at the end"
    yield f"lr          {rates} ({options.optimizer.schedule})"
    special = {
        "AdamW": options.optimizer.optimizer == "adamw",
        f"warm-up of {options.optimizer.warmup:,} iterations": options.optimizer.warmup,
        f"times {options.optimizer.layer_decay:g} for each block below the heads": options.optimizer.layer_decay < 1,
        f"gradients of norm {options.optimizer.clip:g} at most": options.optimizer.clip,
    }
    if any(special.values()):
        yield f"optimizer   {', '.join(text for text, used in special.items() if used)}"
    step = options.step
    stages = ", but for the backbone's stages, which are computed again" if step.recompute else ""
    compiled = f", compiled{stages}" if step.compile else ""
    yield f"numbers     {PRECISIONS[options.machine.amp]}{compiled}{', deterministic' if step.deterministic else ''}"


def validation_lines(options: TrainingOptions) -> Iterator[str]:
    yield f"validated   every {timetable_of(options).validation_interval:,} iterations and at the end"
    for role, sets in validation_sets(options.data, options.run).items():
        best = ", decides which checkpoint is best" if role == "seen" else ""
        for images in sets:
            yield f"            {images.spec.name} ({role}): {len(images):,} of {count(images.found)}{best}"
            yield from whereabouts(images.found)


def output_lines(options: TrainingOptions) -> Iterator[str]:
    run = options.run
    folder = run.checkpoint.parent if run.checkpoint else run.exp_root / run.exp / "<time>"
    yield f"written     to {folder}: flags.json, metrics.jsonl (every iteration), tensorboard/,"
    yield f"            a checkpoint every {run.save_interval:,} iterations, at each validation and at the end: the"
    yield f"            newest {run.keep} as iteration_*.pth, the newest as last.pth too, the best as best.pth"
    recipe = RECIPES[run.recipe]
    yield f"recipe      {run.recipe}"
    for name, value in run.recipe_values.items():
        usual = recipe.get(name, value)
        yield f"            --{name} {value}" + ("" if value == usual else f" (not the recipe's {usual})")
