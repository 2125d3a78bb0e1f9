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
from engine.figures import views
from engine.figures.scatter_plots import Cloud, Point, by_class, by_domain, distinct
from engine.figures.tsne import at_most, class_means
from support.figures import SIX, draw, look, make_home, network, pair
from utils.embedding import embed, settings_for
from utils.errors import UsageError

pytestmark = pytest.mark.usefixtures("thin_resnet")


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


# Points


def test_class_means_are_those_of_one_hot_and_resize() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(5, 6, 9, generator=generator)
    labels = torch.randint(0, 25, (8, 11), generator=generator).repeat_interleave(7, 0).repeat_interleave(5, 1)
    labels = torch.where(labels < 18, labels, 255).to(torch.uint8)  # no pixel of class 18
    means, present = class_means(features, labels, classes=19)
    expected = slow_means(features, labels)
    assert present.nonzero().flatten().tolist() == list(expected) and not present[18] and len(expected) > 10
    for k, mean in expected.items():
        torch.testing.assert_close(means[k], mean)


SHOWN = [CLASSES.index(name) for name in SIX]


def test_points_and_what_is_written(home: Path, capsys: pytest.CaptureFixture) -> None:
    draw(home, f"--dataset {' '.join(STYLES)} --tsne --source_domain gtav synthia --out {home}/six --exp label")
    stem = home / "six" / "tsne" / f"{'_'.join(STYLES)}_val" / "openTSNE_before_6classes_1"
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


def test_all_classes_two_embeddings_and_features_after_the_read(home: Path) -> None:
    draw(home, f"--dataset gtav --tsne --all_class --tsne_features after --duplication 2 --out {home}/after")
    first, second = (
        np.load(home / "after" / "tsne" / "gtav_val" / f"openTSNE_after_19classes_{n}.npz") for n in (1, 2)
    )
    assert "road" in first["class"] and first["item_features"].shape == (0, 256)
    image, labels, _ = pair(home, "gtav", 0)
    means = slow_means(look(home, image).reading.features[0], labels)
    np.testing.assert_allclose(first["features"][0], means[CLASSES.index(str(first["class"][0]))], atol=1e-5)
    np.testing.assert_array_equal(first["features"], second["features"])
    assert not np.allclose(first["coordinates"], second["coordinates"])


def test_few_points(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "PUBLISHED_CLASSES", ("train",))
    with pytest.raises(UsageError, match="points in 1 images, and at least 4 are needed; name more domains"):
        draw(home, "--dataset gtav --limit 1 --tsne --pca")


def test_many_points(capsys: pytest.CaptureFixture) -> None:
    points = [Point("gtav", str(index), 0, np.zeros(1)) for index in range(50)]
    drawn = at_most(points, 20)
    assert len({point.image for point in drawn}) == 20 and "50 points; 20 of them" in capsys.readouterr().out
    assert at_most(points, 50) is points


# Embeddings


def test_the_perplexity_suits_the_number_of_points() -> None:
    few, many, cuda = (settings_for(name, n) for name, n in (("openTSNE", 7), ("openTSNE", 7000), ("tsnecuda", 7000)))
    assert (few["perplexity"], many["perplexity"], cuda["perplexity"]) == (2, 50, 30)
    places = embed(np.random.default_rng(0).normal(size=(7, 5)), few)
    assert places.shape == (7, 2) and np.isfinite(places).all()


def test_planted_clusters_stay_apart() -> None:
    """Unit vectors around three random ones."""
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


def cloud(items: list[int]) -> Cloud:
    points = [Point(domain, "x", k, np.zeros(1)) for domain in STYLES for k in SHOWN]
    places = np.array([[row, column] for row in range(6) for column in range(6)], dtype=float)
    return Cloud(points, places, items, np.zeros((len(items), 1)), np.array([[2.5, 2.5]] * len(items)), STANDARD)


def test_all_domains_and_classes_are_coloured() -> None:
    for picture, expected in ((by_class, PALETTE[SHOWN] / 255), (by_domain, np.array(distinct(6)))):
        figure = picture(cloud([]), sources=("gtav", "synthia"), note="note")
        drawn = np.concatenate([marks.get_facecolor()[:, :3] for marks in figure.axes[0].collections])
        assert len(drawn) == 36
        assert {tuple(row) for row in drawn.round(6)} == {tuple(row) for row in expected.round(6)}
        texts = [text.get_text() for text in figure.legends[0].get_texts()]
        names = SIX if picture is by_class else ("gtav (source)", "synthia (source)", "idd", "mapillary")
        assert set(names) <= set(texts) and "memory item" not in texts
    assert len(set(distinct(6))) == 6 and len(set(distinct(30))) == 30


def test_items_are_triangles_with_black_edges_and_names() -> None:
    figure = by_class(cloud(SHOWN), sources=(), note="note")
    *_, triangles = figure.axes[0].collections
    np.testing.assert_allclose(triangles.get_facecolor()[:, :3], PALETTE[SHOWN] / 255)
    assert triangles.get_edgecolor()[:, :3].max() == 0 and len(triangles.get_paths()[0].vertices) == 4
    assert [text.get_text() for text in figure.legends[0].get_texts()][-1] == "memory item"
    texts = figure.axes[0].texts
    heights = sorted(text.xyann[1] for text in texts)
    assert sorted(text.get_text() for text in texts) == sorted(SIX) and min(np.diff(heights)) > 11  # all in one place
