"""``--target_norm``: scores with batch norms that use the statistics of the target's own images (TSMLDG)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from datasets.images import LabelledImages
from datasets.pyramid import Pyramid
from engine.build import evaluation_batches, scoring_crop
from engine.evaluating.prediction import Inference, Predictor
from engine.evaluating.results import OVERALL, domain_result, percent
from engine.evaluating.scoring import joint_scores
from engine.options.evaluation_options import TARGET_NORM_SEEDS, EvaluationOptions
from network.batch_norms import target_normalised
from utils.log import log
from utils.metrics import ConfusionMatrix, Scores
from utils.processes import rank, world_size

Size = tuple[int, int]


class TargetNorm:
    """Scores domains with batch norms that use the statistics of the batch, for several batch sizes."""

    def __init__(self, predict: Predictor, options: EvaluationOptions) -> None:
        self.predict = Predictor(
            target_normalised(predict.net),
            device=predict.device,
            inference=Inference(),
            gumbel=predict.noisy,
            image_in=predict.image_in,
            precision=predict.precision,
        )
        self.scoring, self.workers = options.scoring, options.machine.workers
        self.batch_sizes = options.target_norm.batch_sizes
        self.seeds = options.target_norm.seeds or TARGET_NORM_SEEDS

    def results(self, images: LabelledImages, protocol: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """The result of a domain for each batch size; ``protocol`` is that of the ordinary score."""
        sizes = self.sizes_of(images)
        results = {}
        for batch_size in self.batch_sizes:
            # Images one at a time give the same scores in any order, except for the noise of a read.
            seeds = 1 if batch_size == 1 and not self.predict.noisy else self.seeds
            scores = [self.score(images, batches_of(sizes, batch_size, seed), seed) for seed in range(seeds)]
            count = len(batches_of(sizes, batch_size, 0))  # the same for every seed
            mean = len(images) / count
            if 2 * mean < batch_size:
                log.info(
                    f"note: --target_norm {batch_size}: batches of {images.spec.name} hold {mean:.1f} images on "
                    "average, since only images of equal size share a batch"
                )
            norms = {
                "batch_norm": "statistics of the batch",
                "batch_size": batch_size,
                "seeds": seeds,
                "batches": count,
                "mean_batch": round(mean, 2),
            }
            results[str(batch_size)] = domain_result(
                scores, {**protocol, **norms}, classes=images.spec.classes, repeats="seeds"
            )
        return results

    def score(self, images: LabelledImages, batches: Sequence[Sequence[int]], seed: int) -> Scores:
        """The scores of a domain whose images come in these batches; the processes share the batches."""
        matrix = ConfusionMatrix(len(images.spec.classes), self.predict.device)
        mine = batches[rank() :: world_size()]
        indices = list(chain.from_iterable(mine))
        loader = evaluation_batches(images, self.scoring, indices=indices, pyramid=Pyramid(), workers=self.workers)
        progress = iter(tqdm(loader, images.spec.name, leave=False, unit="image", disable=rank() > 0))
        for batch in mine:
            pictures, labels, _ = zip(*islice(progress, len(batch)), strict=True)
            predictions = self.predict.predict_batch(torch.stack(pictures), seeds=(seed, batch[0]))
            for label, prediction in zip(labels, predictions, strict=True):
                matrix.update(label.to(self.predict.device), prediction)
        return joint_scores(matrix, images)

    def sizes_of(self, images: LabelledImages) -> list[Size]:
        """The size in which each image is scored."""
        if crop := scoring_crop(images, self.scoring):
            return [(crop, crop)] * len(images)
        return [images.size(index) for index in range(len(images))]


def batches_of(sizes: Sequence[Size], batch_size: int, seed: int) -> list[list[int]]:
    """The indices of images in batches of equal image size, in an order drawn by ``seed``.

    The last batch of each size may be smaller.
    """
    groups: dict[Size, list[int]] = defaultdict(list)
    for index in np.random.default_rng(seed).permutation(len(sizes)).tolist():
        groups[sizes[index]].append(index)
    return [
        group[first : first + batch_size] for group in groups.values() for first in range(0, len(group), batch_size)
    ]


def norm_table(scores: Mapping[str, Any]) -> str:
    """The overall numbers in percent, a line for each kind of batch norm statistics; '' if there is only one."""
    others = scores.get("target_norm", {})
    if not others:
        return ""
    rows = {"stored statistics": scores} | {f"of {size} images at a time": row for size, row in others.items()}
    lines = [f"{'batch norm':<26}{'mIoU':>14}{'frequent':>14}{'accuracy':>14}"]
    lines += [f"{name:<26}" + "".join(f"{percent(row, key):>14}" for key in OVERALL) for name, row in rows.items()]
    return "\n".join(lines)
