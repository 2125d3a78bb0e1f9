"""Embedding in two dimensions: t-SNE (van der Maaten and Hinton 2008) by openTSNE, or principal components."""

from importlib import import_module
from typing import Any

import numpy as np

REMEDY = "install it with `pip install openTSNE`, or add --pca"


def settings_for(method: str, count: int, *, number: int = 1, perplexity: float = 50.0) -> dict[str, Any]:
    """The settings with which ``embed`` embeds ``count`` points for the ``number``-th time.

    The perplexity is a number of neighbours, so it is at most (count - 1) / 3.
    """
    if method == "pca":
        return {"method": method}
    return {
        "method": method,
        "perplexity": min(perplexity, (count - 1) / 3),
        "learning_rate": "auto",
        "early_exaggeration_iter": 250,
        "n_iter": 500,
        "metric": "euclidean",
        "initialization": "pca" if number == 1 else "random",
        "random_state": number,
    }


def embed(x: np.ndarray, settings: dict[str, Any]) -> np.ndarray:
    """The places (P,2) of the vectors ``x`` (P,C).

    openTSNE uses one thread, its default.  Two threads took five times as long as one when other programs used the same
    cores, because its threads wait busily for each other.
    """
    options = dict(settings)
    if options.pop("method") == "pca":
        return principal(x)
    return np.asarray(import_module("openTSNE").TSNE(**options).fit(x), dtype=np.float64)


def principal(x: np.ndarray) -> np.ndarray:
    """The first two principal components (P,2) of ``x`` (P,C); the largest value of each is positive."""
    centred = x.astype(np.float64) - x.mean(axis=0)
    left, scales, _ = np.linalg.svd(centred, full_matrices=False)
    places = left[:, :2] * scales[:2]
    largest = np.take_along_axis(places, np.abs(places).argmax(axis=0)[None], axis=0)
    return places * np.where(largest < 0, -1, 1)
