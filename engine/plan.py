"""The plan of a training run as text: what follows from its flags.  It needs no torch."""

from collections.abc import Iterator

from datasets.labels import STANDARD
from datasets.options import BOOSTED
from datasets.shared_classes import shared_classes
from engine.data_report import coarse_pairs, count, joined, validation_sets, whereabouts
from engine.options.recipes import RECIPES
from engine.options.training_options import TrainingOptions
from engine.timetable import timetable_of
from loss.options import WHITENED_KINDS
from utils.processes import world_size


def plan(options: TrainingOptions) -> str:
    """The plan.  It counts the images, so missing data is an error here already."""
    paragraphs = (
        method_lines, data_lines, sampling_lines, whitening_lines, schedule_lines, validation_lines, output_lines,
        recipe_lines,
    )  # fmt: skip
    return joined(line for paragraph in paragraphs for line in paragraph(options))


def method_lines(options: TrainingOptions) -> Iterator[str]:
    run, entry = options.run, options.entry
    yield f"method      {entry.title}, {options.network.arch.rpartition('.')[2]}, seed {run.seed}"
    if run.checkpoint:
        yield f"continues   from {run.checkpoint}"
    elif run.snapshot:
        yield f"starts      from the weights{' and the memory' if entry.memory else ''} of {run.snapshot}"
    elif entry.memory:
        yield f"memory      first written from {run.first_memory_batches:,} batches that training does not see"


def data_lines(options: TrainingOptions) -> Iterator[str]:
    run, sampling = options.run, options.sampling
    classes = shared_classes([*run.sources, *run.targets])
    if classes.names != STANDARD.names:
        yield f"classes     {len(classes)}: {', '.join(classes.names)}"
    per_domain = sampling.batch_size * world_size()
    total = per_domain * (1 if sampling.joined else len(run.sources))
    domains = "of all domains together" if sampling.joined else "per domain"
    processes = f" in each of {world_size()} processes" if world_size() > 1 else ""
    crop = options.augmentation.crop_size
    yield f"batch       {sampling.batch_size} images {domains}{processes}, {total} images in all, crop {crop}"
    datasets = [options.data.dataset(name) for name in run.sources]
    sources = [dataset.pairs(options.data.root, "train") for dataset in datasets]
    for dataset, pairs in zip(datasets, sources, strict=True):
        images = sum(map(len, sources)) if sampling.joined else len(pairs)
        epochs = run.max_iter * per_domain / images
        yield f"source      {dataset.name}: {count(pairs)}, {epochs:,.2f} epochs"
        yield from whereabouts(pairs)
    if options.entry.mldg:
        jittered = "the meta-test domains" if sampling.meta_aug == "role" else f"{datasets[0].name}, always"
        yield f"roles       drawn anew in every iteration; strong jitter: {jittered}"


def sampling_lines(options: TrainingOptions) -> Iterator[str]:
    sampling, times = options.sampling, timetable_of(options)
    if not sampling.class_uniform:
        return
    until = f", until iteration {times.class_uniform_end:,}" if times.class_uniform_end < times.end else ""
    yield f"sampling    {sampling.class_uniform:.0%} of the images by class{until}"
    if sampling.boosted_classes:
        names = ", ".join(STANDARD.names[index] for index in sampling.boosted_classes)
        yield f"            of {names} also from the coarse labels of {BOOSTED}: {count(coarse_pairs(options.data))}"


def whitening_lines(options: TrainingOptions) -> Iterator[str]:
    """Whether whitening does nothing, and when the entries of selective layers are selected."""
    loss, times = options.whitening, timetable_of(options)
    kinds = sorted({*WHITENED_KINDS} & {*loss.wt_layer})
    if kinds and not loss.active:
        named = " and ".join(map(str, kinds))
        yield f"whitening   none: --wt_layer {named} normalises only, since --wt_reg_weight is 0"
    if loss.selective:
        first = times.first_selection
        again = f", and again after every {first:,} more" if loss.dynamic else ""
        never = ", which is past the end: they are not whitened" if first >= times.end else ""
        yield f"whitening   entries are selected after iteration {first:,}{again}{never}"
        for name in loss.datasets:
            images = options.data.images(name, "val", loss.images)
            yield f"            by {len(images):,} images of {images.spec.name}, {loss.trials} times"


def schedule_lines(options: TrainingOptions) -> Iterator[str]:
    end = options.run.max_iter
    start, half, last = (options.optimizer.rate(iteration) for iteration in (0, end // 2, end))
    yield f"iterations  {end:,}"
    rates = f"{start:.3g} at the start, {half:.3g} half way, {last:.3g} at the end"
    yield f"lr          {rates} ({options.optimizer.schedule})"


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
    yield f"written     to {folder}"
    yield f"            a checkpoint every {run.save_interval:,} iterations, at each validation and at the end"


def recipe_lines(options: TrainingOptions) -> Iterator[str]:
    recipe, values = RECIPES[options.run.recipe], options.run.recipe_values
    yield f"recipe      {options.run.recipe}"
    for name, value in values.items():
        usual = recipe.get(name, value)
        yield f"            --{name} {value}" + ("" if value == usual else f" (not the recipe's {usual})")
