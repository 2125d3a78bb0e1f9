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
from engine.figures.scatter_plots import by_class, by_domain, distinct
from engine.figures.tsne import Cloud, Point, at_most, class_means
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


def test_points_and_what_is_written(home: Path, capsys: pytest.CaptureFixture) -> None:
    draw(home, f"--dataset {' '.join(STYLES)} --tsne --source_domain gtav synthia --out {home}/six --exp label")
    stem = home / "six" / "tsne" / f"{'_'.join(STYLES)}_val" / "openTSNE_before_6classes_1"
    data = np.load(f"{stem}.npz", allow_pickle=False)
    shown = [CLASSES.index(name) for name in SIX]
    expected = []
    for domain in STYLES:
        for index in range(2):
            image, labels, name = pair(home, domain, index)
            means = slow_means(look(home, image).features[0], labels)
            expected += [(domain, name, k, means[k]) for k in shown if k in means]
    assert f"{len(expected)} points and 6 memory items" in capsys.readouterr().out
    assert data["domain"].tolist() == [row[0] for row in expected]
    assert data["image"].tolist() == [row[1] for row in expected]
    assert data["class"].tolist() == [CLASSES[row[2]] for row in expected]
    np.testing.assert_allclose(data["features"], np.stack([row[3] for row in expected]), atol=1e-5)
    assert data["coordinates"].shape == (len(expected), 2) and np.isfinite(data["coordinates"]).all()
    items = network(home).memory.items
    assert data["item_class"].tolist() == list(SIX)
    for name, item in zip(data["item_class"], data["item_features"], strict=True):
        np.testing.assert_array_equal(item, items[CLASSES.index(name)])
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
    assert "terrain" in first["class"] and "road" in first["class"] and first["item_features"].shape == (0, 256)
    image, labels, _ = pair(home, "gtav", 0)
    means = slow_means(look(home, image).reading.features[0], labels)
    np.testing.assert_allclose(first["features"][0], means[CLASSES.index(str(first["class"][0]))], atol=1e-5)
    np.testing.assert_array_equal(first["features"], second["features"])
    assert not np.allclose(first["coordinates"], second["coordinates"])


def test_few_points(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = embed(np.random.default_rng(0).normal(size=(7, 5)), settings_for("openTSNE", 7))
    assert places.shape == (7, 2) and np.isfinite(places).all()
    assert settings_for("openTSNE", 7)["perplexity"] == 2 and settings_for("openTSNE", 7000)["perplexity"] == 50
    assert settings_for("tsnecuda", 7000)["perplexity"] == 30
    monkeypatch.setattr(views, "SHOWN", ("train",))
    with pytest.raises(UsageError, match="points in 1 images, and 4 are the least; name more domains"):
        draw(home, "--dataset gtav --limit 1 --tsne --pca")


def test_many_points(capsys: pytest.CaptureFixture) -> None:
    points = [Point("gtav", str(index), 0, np.zeros(1)) for index in range(50)]
    drawn = at_most(points, 20)
    assert len({point.image for point in drawn}) == 20 and "50 points, of which 20" in capsys.readouterr().out
    assert at_most(points, 50) is points


def test_principal_components() -> None:
    x = np.random.default_rng(0).normal(size=(40, 6)) * np.array([9, 5, 1, 1, 1, 1])
    places = embed(x, settings_for("pca", 40))
    variances = np.linalg.eigvalsh(np.cov(x.T))[::-1]
    np.testing.assert_allclose(np.cov(places.T), np.diag(variances[:2]), atol=1e-9)


# Pictures


def cloud(items: list[int]) -> Cloud:
    shown = [CLASSES.index(name) for name in SIX]
    points = [Point(domain, "x", k, np.zeros(1)) for domain in STYLES for k in shown]
    places = np.array([[row, column] for row in range(6) for column in range(6)], dtype=float)
    return Cloud(points, places, items, np.zeros((len(items), 1)), np.array([[2.5, 2.5]] * len(items)), STANDARD)


def test_all_domains_and_classes_are_coloured() -> None:
    shown = [CLASSES.index(name) for name in SIX]
    for picture, expected in ((by_class, PALETTE[shown] / 255), (by_domain, np.array(distinct(6)))):
        figure = picture(cloud([]), sources=("gtav", "synthia"), note="note")
        drawn = np.concatenate([marks.get_facecolor()[:, :3] for marks in figure.axes[0].collections])
        assert len(drawn) == 36
        assert {tuple(row) for row in drawn.round(6)} == {tuple(row) for row in expected.round(6)}
        told = [text.get_text() for text in figure.legends[0].get_texts()]
        names = SIX if picture is by_class else ("gtav (source)", "synthia (source)", "idd", "mapillary")
        assert set(names) <= set(told) and "memory item" not in told
    assert len(set(distinct(6))) == 6 and len(set(distinct(30))) == 30


def test_items_are_triangles_with_black_edges_and_names() -> None:
    shown = [CLASSES.index(name) for name in SIX]
    figure = by_class(cloud(shown), sources=(), note="note")
    *_, triangles = figure.axes[0].collections
    np.testing.assert_allclose(triangles.get_facecolor()[:, :3], PALETTE[shown] / 255)
    assert triangles.get_edgecolor()[:, :3].max() == 0 and len(triangles.get_paths()[0].vertices) == 4
    assert [text.get_text() for text in figure.legends[0].get_texts()][-1] == "memory item"
    texts = figure.axes[0].texts
    heights = sorted(text.xyann[1] for text in texts)
    assert sorted(text.get_text() for text in texts) == sorted(SIX) and min(np.diff(heights)) > 11  # all in one place
