"""Scoring a network on labelled domains."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from datasets.images import LabelledImages
from datasets.labels import ClassSet
from datasets.sampling.loaders import eval_loader
from datasets.transforms import Pyramid
from engine.evaluating.measures import MeasuredMatrix, write_entropy
from engine.evaluating.prediction import Predictor, likeliest
from engine.options.evaluation_options import MeasureOptions
from engine.options.run_options import ScoringOptions
from utils.errors import UsageError
from utils.metrics import ConfusionMatrix, Scores
from utils.pictures import errors, overlay, save_picture
from utils.processes import rank, world_size

FREQUENT = 0.01  # a class is frequent if it has this share of the labelled pixels
NOTHING_MORE = MeasureOptions()

# Takes name, image 3,H,W, labels H,W, prediction H,W (all uint8) and the confusion matrix K,K of the image.
Each = Callable[[str, Tensor, Tensor, Tensor, Tensor], None]


def score_reads(
    predict: Predictor,
    images: LabelledImages,
    *,
    scoring: ScoringOptions,
    workers: int,
    reads: int = 1,
    each: Each | None = None,
    measures: MeasureOptions = NOTHING_MORE,
    entropy: Path | None = None,
) -> list[Scores]:
    """The scores of a domain, one for each of ``reads`` reads, which differ in the noise of the memory's read.

    The processes share the images, and call ``each`` with their own, for the first read.  Pictures of its entropy go
    into the folder ``entropy``.
    """
    matrices = [MeasuredMatrix(len(images.spec.classes), predict.device, measures) for _ in range(reads)]
    mine = range(rank(), len(images), world_size())
    where = {"workers": workers, "device": predict.device.type}
    loaded = load_images(images, scoring, indices=mine, pyramid=predict.inference.pyramid, **where)
    for index, (image, labels, name, *resized) in zip(mine, loaded, strict=True):
        truth = labels.to(predict.device, non_blocking=True)
        for read, matrix in enumerate(matrices):
            maps = predict.maps(image, resized, index=index, read=read)
            prediction = likeliest(maps, dim=0)
            probabilities = predict.probabilities(maps) if measures.calibration or entropy else None
            del maps  # before the next ones are computed
            matrix.update(truth, prediction, probabilities)
            if read == 0 and entropy:
                write_entropy(entropy / f"{name}.png", probabilities)
            if read == 0 and each:
                each(name, image, labels, prediction, matrix.latest)
    return [joint_scores(matrix, images) for matrix in matrices]


def load_images(
    images: LabelledImages,
    scoring: ScoringOptions,
    *,
    indices: Sequence[int],
    workers: int,
    pyramid: Pyramid | None = None,
    device: str = "cpu",
) -> Iterator[Sequence]:
    """Image, labels and name of each image at ``indices``, then its further sizes, with a progress bar."""
    square = {"crop": scoring_crop(images, scoring), "mapillary_pad": scoring.mapillary_pad}
    loader = eval_loader(images, workers=workers, indices=indices, pyramid=pyramid, device=device, **square)
    return iter(tqdm(loader, images.spec.name, leave=False, unit="image", disable=rank() > 0))


def scoring_crop(images: LabelledImages, scoring: ScoringOptions) -> int:
    """The side of the square on which the images are scored; 0 where they are scored as stored."""
    return scoring.mapillary_crop if images.spec.scored_square else 0


def joint_scores(matrix: ConfusionMatrix, images: LabelledImages) -> Scores:
    """The scores over the images of all processes; UsageError if no pixel is labelled."""
    matrix.gather()
    assert matrix.images == len(images), f"{matrix.images} images scored of {len(images)}"
    if not matrix.counts.any():
        name, split = images.spec.name, images.split
        raise UsageError(f"{name} {split}: not one pixel is labelled; choose a --split with labels or check the labels")
    return matrix.scores()


def summary(scores: Scores) -> dict[str, float]:
    """The overall numbers of a domain."""
    return {
        "mean_iou": scores.mean_iou,
        "mean_iou_frequent": scores.mean_iou_above(FREQUENT),
        "accuracy": scores.accuracy,
    }


def write_pictures(
    folder: Path, classes: ClassSet, name: str, image: Tensor, labels: Tensor, prediction: Tensor, _: Tensor
) -> None:
    """Write three pictures: the prediction in class colours, over the image, and the wrong pixels in red."""
    pixels, train_ids = image.permute(1, 2, 0).numpy(), prediction.cpu().numpy()
    colours = classes.colourise(train_ids)
    wrong = errors(pixels, labels.numpy(), train_ids, len(classes))
    for kind, picture in (("colours", colours), ("overlay", overlay(pixels, colours)), ("errors", wrong)):
        save_picture(folder / kind / f"{name}.png", picture)
