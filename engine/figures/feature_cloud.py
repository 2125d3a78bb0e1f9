"""Points in feature space and their places in two dimensions."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from datasets.labels import ClassSet


class Point(NamedTuple):
    """The mean feature of a class in an image."""

    domain: str
    image: str
    train_id: int
    feature: np.ndarray  # C


class Cloud(NamedTuple):
    """P points and S memory items, and their places in two dimensions."""

    points: Sequence[Point]
    places: np.ndarray  # P,2
    item_classes: Sequence[int]  # S
    item_features: np.ndarray  # S,C
    item_places: np.ndarray  # S,2
    classes: ClassSet
