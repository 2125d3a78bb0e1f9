"""An estimate of what loading asks of the processor, from sizes alone."""

from pathlib import Path
from statistics import mean

from datasets import packed
from datasets.decoding import picture_size
from datasets.registry import DatasetSpec, Sample
from engine.options.training_options import TrainingOptions
from utils.processes import own_cores

# Milliseconds of one core per million pixels, rounded; measured by python -m benchmarks.loading (docs/benchmarks.md).
COPY, JPEG, OTHER = 4, 6, 24  # to read an image and its label
CROP, JITTER, BLUR, BILATERAL = 9, 12, 5, 155  # to augment a crop
SAMPLE = 1  # milliseconds for any sample


def loading_line(options: TrainingOptions) -> str:
    """The line of the plan: what an iteration's samples cost on the measured machine, and how many workers can feed."""
    sampling, root = options.sampling, options.data.root
    datasets = [options.data.dataset(name) for name in options.run.sources]
    decoding = mean(decoding_cost(root, dataset, dataset.pairs(root, "train")[0]) for dataset in datasets)
    cost = SAMPLE + decoding + augmentation_cost(options)
    cores = cost / 1000 * sampling.batch_size * (1 if sampling.joined else len(datasets))  # for an iteration per second
    pace = "--num_workers 0: training waits for it"
    if workers := min(options.machine.workers, own_cores()):
        pace = f"--num_workers {options.machine.workers} can feed {rounded(workers / cores)} iterations per second"
    return f"loading     {cost:.0f} ms of a core per sample, {rounded(cores)} cores for an iteration per second; {pace}"


def rounded(value: float) -> str:
    """To two digits, never as a power of ten."""
    return f"{float(f'{value:.2g}'):,.10g}"


def decoding_cost(root: Path, dataset: DatasetSpec, sample: Sample) -> float:
    """Milliseconds to read an image and its label."""
    width, height = picture_size(sample.image) or (0, 0)
    rate = JPEG if sample.image.suffix.lower() in (".jpg", ".jpeg") else OTHER
    if packed.find(root, dataset, [sample]):
        rate = COPY
    return rate * width * height / 1e6


def augmentation_cost(options: TrainingOptions) -> float:
    """Milliseconds to augment a sample, on average over those with and without strong jitter."""
    augmentation, strong = options.augmentation, 0.0  # share of the samples with strong jitter and blur
    if options.entry.mldg:
        shares = {"role": 0.5, "first_domain": 1 / len(options.run.sources), "none": 0.0}
        strong = shares[options.sampling.meta_aug]
    jitter = 0.5 * JITTER if augmentation.color_aug else 0
    blur = BILATERAL if augmentation.bblur else BLUR if augmentation.gblur else 0
    colours = strong * (JITTER + BLUR) + (1 - strong) * (jitter + blur)
    return (CROP + colours) * augmentation.crop_size**2 / 1e6
