"""eval.py --tsne and --mem_actmap: points, numbers, pictures, maps, and what is told when something is missing."""

import json
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from ranks import evaluate_and_tell, run_ranks
from snapshots import write_snapshot

import eval as evaluation
from datasets.demo import STYLES, write_demo
from datasets.folder import LabelledImages
from datasets.labels import CLASSES, PALETTE, STANDARD, colourise
from datasets.specs import spec
from datasets.transforms import normalise, to_tensor
from engine import views
from engine.activation import activation
from engine.build import network_from
from engine.eval_flags import parse_evaluation
from engine.scatter import by_class, by_domain, distinct
from engine.tsne import Cloud, Point, at_most, class_means
from network.deeplab import DeepLab, SegOutput
from utils.checkpoint import load_checkpoint
from utils.embedding import embed, settings_for
from utils.errors import UsageError
from utils.pictures import HEAT, contact_sheet, heat

SIX = ("sidewalk", "building", "pole", "vegetation", "sky", "car")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("figures")
    write_demo(home / "data", domains=list(STYLES), train=1, val=2, size=(64, 128), seed=1, workers=1)
    write_snapshot(home / "memory.pth", memory=True)
    write_snapshot(home / "plain.pth", memory=False)
    return home


def flags(home: Path, line: str) -> list[str]:
    common = f"--data_root {home / 'data'} --device cpu --num_workers 0 --mapillary_crop 0"
    return f"{common} --snapshot {home}/memory.pth {line}".split()


def draw(home: Path, line: str) -> None:
    evaluation.main(flags(home, line))


def pair(home: Path, domain: str, index: int) -> tuple[torch.Tensor, torch.Tensor, str]:
    image, labels, name = LabelledImages(spec(domain), home / "data", "val")[index]
    return to_tensor(image), torch.from_numpy(labels.copy()), name


@cache
def network(home: Path) -> DeepLab:
    content = load_checkpoint(home / "memory.pth")
    net = network_from(content["network"]).eval()
    net.load_state_dict(content["weights"])
    return net


@torch.no_grad()
def look(home: Path, image: torch.Tensor) -> SegOutput:
    return network(home)(normalise(image[None]))


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


# Maps


def test_maps_are_scaled_over_the_items_of_a_pixel(home: Path) -> None:
    image, _, _ = pair(home, "gtav", 0)
    weights = look(home, image).reading.weights
    torch.testing.assert_close(weights.sum(dim=1), torch.ones_like(weights[:, 0]))
    full = F.interpolate(weights, (64, 128), mode="bilinear", align_corners=True)[0]
    maps = activation(weights, (64, 128), range(19), scale="pixel")
    for y, x in ((0, 0), (30, 70), (63, 127)):
        here = full[:, y, x]
        torch.testing.assert_close(maps[:, y, x], (here - here.min()) / (here.max() - here.min()))
    assert (maps.amin(0) == 0).all() and torch.allclose(maps.amax(0), torch.ones(64, 128))
    assert torch.equal(activation(weights, (64, 128), [13, 2], scale="pixel"), maps[[13, 2]])
    alone = activation(weights, (64, 128), [13], scale="image")[0]
    torch.testing.assert_close(alone, (full[13] - full[13].min()) / (full[13].max() - full[13].min()))


def test_maps_and_sheets_of_domains(home: Path) -> None:
    draw(home, f"--dataset gtav bdd100k --limit 1 --mem_actmap --centre_crop 100 60 --out {home}/maps")
    folder = home / "maps" / "memory_activation" / "bdd100k_val"
    image, _, name = pair(home, "bdd100k", 0)
    image = image[:, 2:62, 14:114]
    output = look(home, image)
    maps = activation(output.reading.weights, (60, 100), range(19), scale="pixel")
    for k in (CLASSES.index(name) for name in SIX):
        plain, blend = (
            np.asarray(Image.open(folder / kind / CLASSES[k] / f"{name}.png")) for kind in ("plain", "blend")
        )
        assert np.abs(plain.astype(int) - heat(maps[k].numpy())).max() <= 3
        assert np.abs(blend - (0.6 * plain + 0.4 * image.permute(1, 2, 0).numpy())).max() <= 1
    sheet = Image.open(folder / "sheets" / f"{name}.png")
    assert sheet.size == (4 * 320 + 3 * 4, 2 * (192 + 20) + 4)  # eight tiles
    tiles = {"image": image.permute(1, 2, 0).numpy(), "prediction": colourise(output.logits[0].argmax(0).numpy())}
    sheet = np.asarray(sheet)[20 : 20 + 192]
    for column, tile in enumerate(tiles.values()):
        expected = np.asarray(Image.fromarray(tile.astype(np.uint8)).resize((320, 192), Image.Resampling.LANCZOS))
        assert np.abs(sheet[:, column * 324 : column * 324 + 320].astype(int) - expected).mean() < 1
    settings = json.loads((folder / "settings.json").read_text())
    assert settings["scale"] == "pixel" and settings["memory_read"] == "softmax" and settings["classes"][0] in SIX
    assert len(list((home / "maps").rglob("*.png"))) == 2 * (6 + 6 + 1)


def test_maps_of_a_folder(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    images = tmp_path / "my images"
    (images / "deep").mkdir(parents=True)
    Image.new("RGB", (70, 40)).save(images / "deep" / "a.jpg")
    (images / "b.png").write_text("broken")
    line = [*flags(home, "--mem_actmap --all_class --actmap_scale image"), "--outdir", str(images)]
    for _ in range(2):  # what was written there is not taken for images
        evaluation.main([*line, "--images", str(images)])
    assert capsys.readouterr().err.count("skipped: ") == 2
    folder = images / "memory_activation" / "my images"
    assert Image.open(folder / "plain" / "traffic_light" / "deep" / "a.png").size == (70, 40)
    assert len(list(folder.rglob("*.png"))) == 19 + 19 + 1


def test_colours_and_sheets() -> None:
    assert np.array_equal(heat(np.linspace(0, 1, 10)[None])[0][[0, -1]], HEAT[[0, -1]])
    assert (np.diff(HEAT @ (299, 587, 114)) > 0).all()  # ever lighter
    tile = np.zeros((10, 20, 3), dtype=np.uint8)
    assert contact_sheet(dict.fromkeys("ab", tile), width=40).shape == (20 + 20, 40 + 4 + 40, 3)
    assert contact_sheet(dict.fromkeys("abcde", tile), width=40).shape == (2 * 40 + 4, 4 * 40 + 3 * 4, 3)


# Processes, and what is told


def test_processes_share_the_images(home: Path, threads: Callable[[int], None], tmp_path: Path) -> None:
    line = f"--dataset gtav bdd100k --tsne --pca --mem_actmap --gumbel_eval 1 --out {home}"
    threads(1)
    draw(home, f"{line}/one")
    first, second = run_ranks(evaluate_and_tell, 2, tmp_path, [flags(home, f"{line}/two")])
    assert "memory items" in first and not second
    for file in (path for path in (home / "one").rglob("*.png")):
        assert file.read_bytes() == (home / "two" / file.relative_to(home / "one")).read_bytes(), file


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--snapshot {home}/plain.pth --mem_actmap", "--mem_actmap: {home}/plain.pth holds no memory"),
        ("--snapshot {home}/plain.pth --tsne --tsne_features after", "--tsne_features after: {home}/plain.pth holds"),
        ("--tsne --tsnecuda", "--tsnecuda: the package tsnecuda cannot be loaded"),
        ("--tsne", "--tsne: the package openTSNE cannot be loaded"),
        ("--tsne --pca", "--tsne: the package matplotlib cannot be loaded"),
    ],
)
def test_what_is_missing_is_told(line: str, told: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("openTSNE", "tsnecuda", "matplotlib"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError) as error:
        draw(home, f"--dataset gtav {line.format(home=home)}")
    assert told.format(home=home) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--pca", "--pca: says nothing without --tsne"),
        ("--all_class", "--all_class: says nothing without --tsne or --mem_actmap"),
        ("--tsne --pca --tsnecuda", "give one of them"),
        ("--tsne --pca --duplication 2", "always the same"),
        ("--tsne --images x", "points need labels"),
        ("--tsne --source_domain gta", "no data set is called gta"),
        ("--mem_actmap --inference_mode sliding", "drop --inference_mode sliding"),
        ("--mem_actmap --dump_images", "drop --dump_images"),
        ("--mem_actmap --gumbel_eval 2", "give --gumbel_eval 0 or 1"),
    ],
)
def test_contradictions(line: str, told: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse_evaluation(["--snapshot", "x.pth", *line.split()])
    assert stopped.value.code == 2 and told in capsys.readouterr().err.splitlines()[-1]
