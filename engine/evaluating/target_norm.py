"""``--target_norm``: scores with batch norms that use the statistics of the target's own images (TSMLDG)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from copy import copy
from itertools import chain, islice
from typing import Any

import numpy as np
import torch

from datasets.images import LabelledImages
from engine.evaluating.prediction import Predictor, likeliest
from engine.evaluating.results import domain_result
from engine.evaluating.scoring import MeasuredMatrix, joint_scores, load_images, measured, scoring_crop
from engine.options.evaluation_options import TARGET_NORM_SEEDS, EvaluationOptions
from network.batch_norms import target_normalised
from utils.metrics import Scores
from utils.processes import rank, world_size

Size = tuple[int, int]


def target_norm_results(
    predict: Predictor, images: LabelledImages, options: EvaluationOptions, protocol: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """The result of a domain for each batch size; ``protocol`` describes the ordinary score."""
    normed = copy(predict)
    normed.net = target_normalised(predict.net)
    crop = scoring_crop(images, options.scoring)
    sizes = [(crop, crop) if crop else images.size(index) for index in range(len(images))]
    results = {}
    for batch_size in options.target_norm.batch_sizes:
        # Images one at a time give the same scores in any order, except for the noise of a read.
        repeats = batch_size > 1 or predict.noisy
        seeds = (options.target_norm.seeds or TARGET_NORM_SEEDS) if repeats else 1
        groupings = [batches_of(sizes, batch_size, seed) for seed in range(seeds)]
        scores = [score(normed, images, options, batches, seed) for seed, batches in enumerate(groupings)]
        norms = {"batch_norm": "statistics of the batch", "batch_size": batch_size, "seeds": seeds}
        how = {**protocol, **norms, "batches": len(groupings[0])}  # as many for every seed
        results[str(batch_size)] = domain_result(scores, how, classes=images.spec.classes, repeats="seeds")
        results[str(batch_size)] |= measured(scores, images.spec.classes, options.measures)
    return results


def score(
    predict: Predictor, images: LabelledImages, options: EvaluationOptions, batches: Sequence[Sequence[int]], seed: int
) -> Scores:
    """The scores of a domain whose images come in these batches; the processes share the batches."""
    matrix = MeasuredMatrix(len(images.spec.classes), predict.device, options.measures)
    mine = batches[rank() :: world_size()]
    indices = list(chain.from_iterable(mine))
    where = {"workers": options.machine.workers, "device": predict.device.type}
    loaded = load_images(images, options.scoring, indices=indices, **where)
    for batch in mine:
        pictures, labels, _ = zip(*islice(loaded, len(batch)), strict=True)
        maps = predict.batch_logits(torch.stack(pictures), seeds=(seed, batch[0]))
        for label, logits in zip(labels, maps, strict=True):
            probabilities = logits.softmax(0) if options.measures.calibration else None
            matrix.update(label.to(predict.device, non_blocking=True), likeliest(logits, dim=0), probabilities)
    return joint_scores(matrix, images)


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
