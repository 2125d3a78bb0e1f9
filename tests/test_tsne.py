"""eval.py --tsne: points, numbers and pictures."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from datasets.demo import STYLES
from datasets.labels import CLASSES, PALETTE, STANDARD
from engine.figures import tsne
from engine.figures.scatter_plots import Cloud, Point, by_class, by_domain
from support.figures import SIX, draw, look, make_home, network, pair
from utils.embedding import embed, settings_for
from utils.errors import UsageError

pytestmark = pytest.mark.usefixtures("thin_resnet")
SHOWN = [CLASSES.index(name) for name in SIX]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("figures"))


def slow_means(features: torch.Tensor, labels: torch.Tensor) -> dict[int, torch.Tensor]:
    """The mean unit feature of each class by one-hot labels of full size, resized."""
    unit = features / features.norm(dim=0, keepdim=True).clamp_min(1e-12)
    means = {}
    for k in range(len(CLASSES)):
        mask = (labels == k).to(features.dtype)
        mask = F.interpolate(mask[None, None], features.shape[1:], mode="bilinear", align_corners=True)[0]
        if mask.sum() > 0:
            means[k] = (unit * mask).sum(dim=(1, 2)) / mask.sum()
    return means


def test_points_and_what_is_written(home: Path, capsys: pytest.CaptureFixture) -> None:
    draw(home, f"--dataset {' '.join(STYLES)} --tsne --source_domain gtav synthia --out {home}/six --exp label")
    stem = home / "six" / "tsne" / f"{'_'.join(STYLES)}_val" / "openTSNE_6classes_1"
    data = np.load(f"{stem}.npz", allow_pickle=False)
    expected = []
    for domain in STYLES:
        for index in range(2):
            image, labels, name = pair(home, domain, index)
            means = slow_means(look(home, image).features[0], labels)
            expected += [(domain, name, CLASSES[k], means[k]) for k in SHOWN if k in means]
    assert f"{len(expected)} points and 6 memory items" in capsys.readouterr().out
    *columns, features = zip(*expected, strict=True)
    assert columns == [tuple(data[key].tolist()) for key in ("domain", "image", "class")]
    np.testing.assert_allclose(data["features"], np.stack(features), atol=1e-5)
    assert data["coordinates"].shape == (len(expected), 2) and np.isfinite(data["coordinates"]).all()
    assert data["item_class"].tolist() == list(SIX)
    np.testing.assert_array_equal(data["item_features"], network(home).memory.items[SHOWN])
    assert data["item_coordinates"].shape == (6, 2) and str(data["snapshot"]) == str(home / "memory.pth")
    settings = json.loads(str(data["settings"]))
    perplexity = min(50, (len(expected) + 6 - 1) / 3)
    assert settings["embedding"]["perplexity"] == pytest.approx(perplexity) and settings["label"] == "label"
    assert settings["sources"] == ["gtav", "synthia"]
    for kind in ("class", "domain"):
        assert Image.open(f"{stem}_{kind}.png").size == (1600, 1000)
        assert Path(f"{stem}_{kind}.pdf").read_bytes().startswith(b"%PDF")
    assert len(list(stem.parent.iterdir())) == 5


def test_all_classes_two_embeddings_and_a_part_of_the_points(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tsne, "MOST", 5)
    draw(home, f"--dataset gtav --tsne --all_class --duplication 2 --out {home}/all")
    first, second = (np.load(home / "all/tsne/gtav_val" / f"openTSNE_19classes_{n}.npz") for n in (1, 2))
    assert len(first["features"]) == 5 and "road" in first["item_class"]
    np.testing.assert_array_equal(first["features"], second["features"])
    assert not np.allclose(first["coordinates"], second["coordinates"])


def test_few_points(home: Path) -> None:
    with pytest.raises(UsageError, match="points in 1 images, and at least 4 are needed; name more domains"):
        draw(home, f"--dataset gtav --tsne --pca --imagenum_dom 1 --centre_crop 2 2 --out {home}/few")


# Embeddings


def test_planted_clusters_stay_apart() -> None:
    """Unit vectors around three random ones."""
    assert [settings_for("openTSNE", number)["perplexity"] for number in (7, 7000)] == [2, 50]
    rng, group = np.random.default_rng(0), np.arange(300) % 3
    points = rng.normal(size=(3, 256))[group] + 1.5 * rng.normal(size=(300, 256))
    places = embed(points / np.linalg.norm(points, axis=1, keepdims=True), settings_for("openTSNE", 300))
    centres = np.stack([places[group == number].mean(axis=0) for number in range(3)])
    distances = np.linalg.norm(places[:, None] - centres, axis=2)
    assert (distances.argmin(axis=1) == group).all()
    between = np.linalg.norm(centres[:, None] - centres, axis=2)[np.triu_indices(3, 1)]
    assert between.min() > 2 * np.quantile(distances.min(axis=1), 0.95)


def test_principal_components() -> None:
    x = np.random.default_rng(0).normal(size=(40, 6)) * np.array([9, 5, 1, 1, 1, 1])
    places = embed(x, settings_for("pca", 40))
    variances = np.linalg.eigvalsh(np.cov(x.T))[::-1]
    np.testing.assert_allclose(np.cov(places.T), np.diag(variances[:2]), atol=1e-9)


# Pictures


def test_points_and_items_are_coloured() -> None:
    points = [Point(domain, "x", k, np.zeros(1)) for domain in STYLES for k in SHOWN]
    places = np.array([[row, column] for row in range(6) for column in range(6)], dtype=float)
    cloud = Cloud(points, places, SHOWN, np.zeros((6, 1)), np.full((6, 2), 2.5), STANDARD)
    for picture, colours in ((by_class, PALETTE[SHOWN] / 255), (by_domain, np.ones((6, 3)))):
        figure = picture(cloud, sources=("gtav", "synthia"), note="note")
        *marks, triangles = figure.axes[0].collections
        drawn = np.concatenate([mark.get_facecolor()[:, :3] for mark in marks])
        assert len(drawn) == 36 and len({tuple(colour) for colour in drawn.round(6)}) == 6
        np.testing.assert_allclose(triangles.get_facecolor()[:, :3], colours)
        assert triangles.get_edgecolor()[:, :3].max() == 0 and len(triangles.get_paths()[0].vertices) == 4
        texts = [text.get_text() for text in figure.legends[0].get_texts()]
        names = SIX if picture is by_class else ("gtav (source)", "synthia (source)", "idd", "mapillary")
        assert {*names, "memory item"} <= set(texts)
