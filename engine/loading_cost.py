"""What loading asks of the processor, told from sizes alone: of files, of crops, and of what is done to these."""

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from datasets import packed
from datasets.decoding import picture_size
from datasets.registry import DatasetSpec, Sample
from engine.data_report import data_set
from engine.options.flags import own_cores

# Milliseconds of one core per million pixels, rounded; measured by python -m benchmarks.loading (docs/benchmarks.md).
COPY, JPEG, OTHER = 4, 6, 24  # of the image, read with its label
CROP, JITTER, BLUR, BILATERAL = 17, 45, 26, 155  # of the crop
SAMPLE = 1  # milliseconds, whatever the size


def loading(args: Namespace) -> Iterator[str]:
    """A line of the plan: what the samples of an iteration cost, and up to which pace training need not wait for them.

    Of the machine that was measured; and on a CPU the network wants the same cores.
    """
    rows = [data_set(args, name) for name in args.dataset]
    decoded = [decoding(args.data_root, row, row.pairs(args.data_root, "train")[0]) for row in rows]
    cost = SAMPLE + sum(decoded) / len(decoded) + augmenting(args)
    samples = args.bs_mult * (1 if args.image_uniform_sampling else len(args.dataset))
    per_iteration = samples * cost / 1000
    workers = min(args.num_workers, own_cores())
    pace = f"--num_workers {args.num_workers} can feed {rounded(workers / per_iteration)} iterations per second"
    pace = pace if workers else "--num_workers 0: training waits for it"
    told = f"{cost:.0f} ms of a core per sample, {rounded(per_iteration)} cores for an iteration per second"
    yield f"loading     {told}; {pace}"


def rounded(value: float) -> str:
    """To two digits, never as a power of ten."""
    return f"{float(f'{value:.2g}'):,.10g}"


def decoding(root: Path, row: DatasetSpec, sample: Sample) -> float:
    """Milliseconds until an image and its label are read, by the size of the image."""
    width, height = picture_size(sample.image) or (0, 0)
    if packed.find(root, row, [sample]):
        rate = COPY
    else:
        rate = JPEG if sample.image.suffix.lower() in (".jpg", ".jpeg") else OTHER
    return rate * width * height / 1e6


def augmenting(args: Namespace) -> float:
    """Milliseconds from there to a sample, on average over those with and without strong jitter."""
    hard = (0.5 if args.meta_aug == "role" else 1 / len(args.dataset)) if args.mldg else 0
    jitter = 0.5 if args.color_aug else 0
    blur = BILATERAL if args.bblur else BLUR if args.gblur else 0
    colours = hard * (JITTER + BLUR) + (1 - hard) * (jitter * JITTER + blur)
    return (CROP + colours) * args.crop_size**2 / 1e6
