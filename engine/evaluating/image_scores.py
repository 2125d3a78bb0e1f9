"""The score of each image of a domain, and its best, median and worst image as small pictures for the report."""

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from datasets.images import LabelledImages
from engine.evaluating.prediction import Predictor
from engine.evaluating.scoring import Each, load_images
from engine.options.run_options import ScoringOptions
from utils.distributed import gather
from utils.errors import first_line
from utils.log import log
from utils.metrics import ious
from utils.pictures import errors, save_picture
from utils.processes import rank, world_size

WIDTH = 640  # pixels of a picture, at most


class ImageScore(NamedTuple):
    """An image and its mIoU over the classes in its labels or its prediction; NaN without labelled pixels."""

    index: int
    image: str
    mean_iou: float


class ImageScores:
    """Collects the mIoU of this process's images on their device: reading them one by one would make a GPU wait.

    It is an ``Each``, and passes on what it is called with to ``write``.
    """

    def __init__(self, write: Each | None) -> None:
        self.write, self.names, self.means = write, [], []

    def __call__(self, name: str, image: Tensor, labels: Tensor, prediction: Tensor, counts: Tensor) -> None:
        self.names.append(name)
        self.means.append(ious(counts).nanmean())
        if self.write:
            self.write(name, image, labels, prediction, counts)

    def of_all(self) -> list[ImageScore]:
        """The scores of all processes, in the order of the images; all processes call this together."""
        means = torch.stack(self.means).tolist() if self.means else []
        own = zip(range(rank(), world_size() * len(means), world_size()), self.names, means, strict=True)
        return [ImageScore(*score) for score in sorted(chain(*gather(list(own))))]


def details(scores: Sequence[ImageScore], confusion: Tensor) -> dict[str, Any]:
    """What ``details.json`` holds of a domain: its confusion matrix (rows are labels), the mIoU of each image, and
    which images are the best, the worst and the median; the first of these if there are fewer than three."""
    ranked = sorted((score for score in scores if not math.isnan(score.mean_iou)), key=lambda score: score.mean_iou)
    places = {"best": len(ranked) - 1, "worst": 0, "median": len(ranked) // 2}
    examples = {kind: ranked[place]._asdict() for kind, place in list(places.items())[: len(ranked)]}
    images = {score.image: score.mean_iou for score in scores}
    return {"examples": examples, "images": images, "confusion": confusion.long().tolist()}


def write_examples(
    folder: Path,
    predict: Predictor,
    images: LabelledImages,
    scoring: ScoringOptions,
    examples: Mapping[str, Mapping[str, Any]],
) -> None:
    """Write the pictures of the examples.  Only the report needs them, so a failure is a warning."""
    try:
        for kind, example in examples.items():
            write_example(folder / kind, predict, images, scoring, index=example["index"])
    except Exception as error:
        log.warning(f"warning: no pictures of {images.spec.name} for the report: {first_line(error)}")


def write_example(
    stem: Path, predict: Predictor, images: LabelledImages, scoring: ScoringOptions, *, index: int
) -> None:
    """Predict an image once more, with the same noise as before, and write the pictures ``stem``_KIND.png."""
    pyramid = predict.inference.pyramid
    ((image, labels, _, *resized),) = load_images(images, scoring, indices=[index], workers=0, pyramid=pyramid)
    prediction, truth = predict(image, resized, index=index).cpu().numpy(), labels.numpy()
    classes, pixels = images.spec.classes, image.permute(1, 2, 0).numpy()
    pictures = {
        "image": pixels,
        "labels": classes.colourise(truth),
        "prediction": classes.colourise(prediction),
        "errors": errors(pixels, truth, prediction, len(classes)),
    }
    for kind, picture in pictures.items():
        small = Image.fromarray(picture)
        small.thumbnail((WIDTH, small.height))
        save_picture(Path(f"{stem}_{kind}.png"), np.asarray(small))
