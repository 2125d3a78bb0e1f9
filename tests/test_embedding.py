"""Embeddings in two dimensions."""

import numpy as np
import pytest

from utils.embedding import embed, settings_for


def planted(count: int, *, dimensions: int = 256, groups: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors around as many random ones as there are groups, and the group of each."""
    rng = np.random.default_rng(0)
    group = np.arange(count) % groups
    centres = rng.normal(size=(groups, dimensions))
    points = centres[group] + 1.5 * rng.normal(size=(count, dimensions))
    return points / np.linalg.norm(points, axis=1, keepdims=True), group


@pytest.mark.parametrize("method", ["openTSNE", "pca"])
def test_planted_clusters_stay_apart(method: str) -> None:
    if method != "pca":
        pytest.importorskip(method)
    points, group = planted(300)
    places = embed(points, settings_for(method, len(points)))
    assert places.shape == (300, 2)
    centres = np.stack([places[group == number].mean(axis=0) for number in range(3)])
    distances = np.linalg.norm(places[:, None] - centres, axis=2)
    own = distances[np.arange(300), group]
    assert (distances.argmin(axis=1) == group).all()
    between = np.linalg.norm(centres[:, None] - centres, axis=2)[np.triu_indices(3, 1)]
    assert between.min() > 2 * np.quantile(own, 0.95)
