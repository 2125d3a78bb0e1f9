"""``--target_norm``: scores with batch norms that go by the target's own images, batch by batch."""

from argparse import Namespace
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from datasets.images import LabelledImages
from datasets.pyramid import Pyramid
from engine.build import evaluation_batches
from engine.data_report import scoring_crop
from engine.evaluating.prediction import Inference, Predictor
from engine.evaluating.results import OVERALL, mean_of, percent, result
from engine.evaluating.scoring import joint_scores
from network.batch_norms import target_normalised
from utils.metrics import ConfusionMatrix, Scores
from utils.processes import rank, world_size

Size = tuple[int, int]


class TargetNorm:
    """Scores domains with batch norms that go by batches of each of several sizes."""

    def __init__(self, predict: Predictor, args: Namespace) -> None:
        net = target_normalised(predict.net)
        self.predict = Predictor(net, args, device=predict.device, inference=Inference())
        self.args = args

    def results(self, images: LabelledImages, protocol: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """What is written about a domain for each batch size, ``protocol`` being that of the ordinary score."""
        sizes = stored_sizes(self.args, images)
        found = {}
        for number in self.args.target_norm:
            # Alone, an image is the same however the others are grouped; only the noise of a read differs.
            seeds = 1 if number == 1 and not self.predict.noisy else self.args.target_norm_seeds
            scores = [self.score(images, batches(sizes, number, seed), seed) for seed in range(seeds)]
            count = len(batches(sizes, number, 0))  # of every seed
            mean = len(images) / count
            norms = {"batch_norm": "statistics of the batch", "batch_size": number, "seeds": seeds}
            norms |= {"batches": count, "mean_batch": round(mean, 2)}
            if 2 * mean < number and rank() == 0:
                print(
                    f"note: --target_norm {number}: batches of {images.spec.name} hold {mean:.1f} images on"
                    " average, since only images equal in size go together"
                )
            found[str(number)] = result(scores, {**protocol, **norms}, classes=images.spec.classes, repeats="seeds")
        return found

    def score(self, images: LabelledImages, groups: Sequence[Sequence[int]], seed: int) -> Scores:
        """The scores of a domain whose images come in these batches, of which each process takes every so manyth."""
        matrix = ConfusionMatrix(len(images.spec.classes), self.predict.device)
        mine = groups[rank() :: world_size()]
        loader = evaluation_batches(self.args, images, indices=list(chain.from_iterable(mine)), pyramid=Pyramid())
        progress = iter(tqdm(loader, images.spec.name, leave=False, unit="image", disable=rank() > 0))
        for group in mine:
            pictures, labels, _ = zip(*islice(progress, len(group)), strict=True)
            predictions = self.predict.together(torch.stack(pictures), numbers=(seed, group[0]))
            for label, prediction in zip(labels, predictions, strict=True):
                matrix.update(label.to(self.predict.device), prediction)
        return joint_scores(matrix, images)


def batches(sizes: Sequence[Size], number: int, seed: int) -> list[list[int]]:
    """Images of the given sizes in batches of ``number`` that are equal in size, as they come in an order drawn by
    ``seed``; the last batch of each size may be smaller."""
    groups: dict[Size, list[int]] = defaultdict(list)
    for index in np.random.default_rng(seed).permutation(len(sizes)).tolist():
        groups[sizes[index]].append(index)
    return [group[first : first + number] for group in groups.values() for first in range(0, len(group), number)]


def stored_sizes(args: Namespace, images: LabelledImages) -> list[Size]:
    """The size in which each image is scored."""
    if crop := scoring_crop(args, images):
        return [(crop, crop)] * len(images)
    return [images.size(index) for index in range(len(images))]


def norm_table(stored: Mapping[str, Any]) -> str:
    """The overall numbers in percent, a line for each kind of batch norm statistics; nothing if there is one only."""
    others = stored.get("target_norm", {})
    rows = {"stored statistics": stored} | {f"of {number} images at a time": row for number, row in others.items()}
    lines = [f"{'batch norm':<26}{'mIoU':>14}{'frequent':>14}{'accuracy':>14}\n"]
    lines += [
        f"{name:<26}" + "".join(f"{percent(row, key):>14}" for key in OVERALL) + "\n" for name, row in rows.items()
    ]
    return "".join(lines) if others else ""


def mean_over(domains: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The means over domains, also those for each batch size, seed by seed."""
    normed = {name: domain["target_norm"] for name, domain in domains.items() if "target_norm" in domain}
    numbers = next(iter(normed.values()), {})
    means = {
        number: mean_of({name: found[number] for name, found in normed.items()}, repeats="seeds") for number in numbers
    }
    return mean_of(domains) | ({"target_norm": means} if means else {})
