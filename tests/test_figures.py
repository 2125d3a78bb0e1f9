"""eval.py --tsne and --mem_actmap: points, numbers, pictures, maps and sheets; several processes; missing packages."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import eval as evaluation
from checkpoints.run_files import load_checkpoint
from datasets.demo import STYLES, write_demo
from datasets.images import LabelledImages
from datasets.labels import CLASSES, PALETTE, STANDARD, ClassSet
from datasets.registry import spec
from datasets.transforms import normalise, to_tensor
from engine.build import network_from
from engine.figures import tsne
from engine.figures.activation_maps import activation
from engine.figures.tsne import Cloud, Point, by_class, by_domain
from engine.figures.views import shown_classes
from engine.options.evaluation_options import parse_evaluation
from network.deeplab import DeepLab, SegOutput
from support.ranks import evaluate_and_tell, run_ranks
from support.snapshots import write_snapshot
from utils.embedding import embed, settings_for
from utils.errors import UsageError
from utils.pictures import heat

SIX = ("sidewalk", "building", "pole", "vegetation", "sky", "car")
SHOWN = [CLASSES.index(name) for name in SIX]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Demo data of six domains and a checkpoint."""
    home = tmp_path_factory.mktemp("figures")
    write_demo(home / "data", domains=list(STYLES), train=1, val=2, size=(64, 128), seed=1, workers=1)
    write_snapshot(home / "memory.pth", memory=True)
    return home


def flags(home: Path, line: str) -> list[str]:
    common = f"--data_root {home / 'data'} --device cpu --num_workers 0 --mapillary_crop 0"
    return f"{common} --snapshot {home}/memory.pth {line}".split()


def draw(home: Path, line: str) -> None:
    evaluation.main(flags(home, line))


def test_a_notebook_has_another_backend_for_pictures(home: Path, tmp_path: Path) -> None:
    """Programs that it starts inherit MPLBACKEND, and the module that this names may not be there."""
    line = flags(home, f"--dataset gtav --tsne --pca --all_class --limit 1 --out {tmp_path}")
    setting = os.environ | {"MPLBACKEND": "module://absent.backend"}
    done = subprocess.run([sys.executable, evaluation.__file__, *line], env=setting, capture_output=True, text=True)
    assert done.returncode == 0 and list(tmp_path.rglob("*.p*")), done.stderr


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


# t-SNE


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
    assert f"{len(expected)} points (one per image and class) and 6 memory items" in capsys.readouterr().out
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
        assert Image.open(f"{stem}_{kind}.png").size > (1280, 1000)  # the plot, and the legend beside it
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
    with pytest.raises(UsageError, match="points in 1 image, and at least 4 are needed; name more domains"):
        draw(home, f"--dataset gtav --tsne --pca --imagenum_dom 1 --centre_crop 2 2 --out {home}/few")


def test_embeddings() -> None:
    assert [settings_for("openTSNE", number)["perplexity"] for number in (7, 7000)] == [2, 50]
    x = np.random.default_rng(0).normal(size=(40, 6)) * np.array([9, 5, 1, 1, 1, 1])
    places = embed(x, settings_for("pca", 40))
    variances = np.linalg.eigvalsh(np.cov(x.T))[::-1]
    np.testing.assert_allclose(np.cov(places.T), np.diag(variances[:2]), atol=1e-9)


def test_points_and_items_are_coloured() -> None:
    points = [Point(domain, "x", k, np.zeros(1)) for domain in STYLES for k in SHOWN]
    places = np.array([[row, column] for row in range(6) for column in range(6)], dtype=float)
    cloud = Cloud(points, places, SHOWN, np.zeros((6, 1)), np.full((6, 2), 2.5), STANDARD)
    for picture, colours in ((by_class, PALETTE[SHOWN] / 255), (by_domain, np.zeros((0, 3)))):
        figure = picture(cloud, sources=("gtav", "synthia"), note="note")
        *marks, triangles = figure.axes[0].collections
        drawn = np.concatenate([mark.get_facecolor()[:, :3] for mark in marks])
        assert len(drawn) == 36 and len({tuple(colour) for colour in drawn.round(6)}) == 6
        np.testing.assert_allclose(triangles.get_facecolor()[:, :3], colours)
        assert triangles.get_edgecolor()[:, :3].max() == 0 and len(triangles.get_paths()[0].vertices) == 4
        texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        names = SIX if picture is by_class else ("gtav (source)", "synthia (source)", "idd", "mapillary")
        assert {*names, "memory item"} <= set(texts)


def test_own_classes_are_shown_whatever_they_are_called() -> None:
    options = parse_evaluation(["--snapshot", "x.pth", "--tsne"])
    assert shown_classes(ClassSet(("street", "sky"), ((9, 9, 9),) * 2), options) == [0, 1]
    assert shown_classes(STANDARD, options) == SHOWN


@pytest.mark.parametrize("count", [2, 25, 254])
def test_names_hide_nothing(count: int) -> None:
    """The legend lies beside the plot, is no higher, and leaves its size alone."""
    names = tuple(f"class number {number} with a long name" for number in range(count))
    points = [Point("gtav", "x", k, np.zeros(1)) for k in range(count)]
    classes = ClassSet(names, ((9, 9, 9),) * count)
    cloud = Cloud(points, np.arange(2.0 * count).reshape(-1, 2), [], np.zeros((0, 1)), np.zeros((0, 2)), classes)
    (axes,) = by_class(cloud, sources=(), note="note").axes
    axes.figure.draw_without_rendering()
    plot, legend = axes.get_window_extent(), axes.get_legend().get_window_extent()
    assert legend.x0 > plot.x1 and legend.y0 > plot.y0 and legend.y1 <= plot.y1 and plot.size.tolist() == [1280, 1000]
    texts = [text.get_window_extent() for text in axes.get_legend().get_texts()]
    assert len(texts) == count + 2 and not any(a.overlaps(b) for a, b in combinations(texts, 2))


# Maps


def test_maps_and_sheets_of_domains(home: Path) -> None:
    """Maps are scaled over the items of a pixel."""
    draw(home, f"--dataset gtav bdd100k --limit 1 --mem_actmap --centre_crop 100 60 --out {home}/maps")
    folder = home / "maps" / "memory_activation" / "bdd100k_val"
    image, _, name = pair(home, "bdd100k", 0)
    image = image[:, 2:62, 14:114]
    pixels, output = image.permute(1, 2, 0).numpy(), look(home, image)
    full = F.interpolate(output.reading.weights, (60, 100), mode="bilinear", align_corners=True)[0]
    maps = (full - full.amin(0)) / (full.amax(0) - full.amin(0))
    torch.testing.assert_close(activation(output.reading.weights, (60, 100)), maps)
    for k in (CLASSES.index(name) for name in SIX):
        files = (folder / kind / CLASSES[k] / f"{name}.png" for kind in ("plain", "blend"))
        plain, blend = (np.asarray(Image.open(file)) for file in files)
        assert np.abs(plain.astype(int) - heat(maps[k].numpy())).max() <= 3
        assert np.abs(blend - (0.6 * plain + 0.4 * pixels)).max() <= 1
    sheet = Image.open(folder / "sheets" / f"{name}.png")
    assert sheet.size == (4 * 320 + 3 * 4, 2 * (192 + 20) + 4 + 20 + 12)  # eight tiles and a colour bar
    assert np.array_equal(np.asarray(sheet)[-1, :: 4 * 320 + 3 * 4 - 1], heat(np.array([[0, 1]]))[0])
    sheet = np.asarray(sheet)[20 : 20 + 192]
    for column, tile in enumerate((pixels, STANDARD.colourise(output.logits[0].argmax(0).numpy()))):
        expected = np.asarray(Image.fromarray(tile.astype(np.uint8)).resize((320, 192), Image.Resampling.LANCZOS))
        assert np.abs(sheet[:, column * 324 : column * 324 + 320].astype(int) - expected).mean() < 1
    settings = json.loads((folder / "settings.json").read_text())
    assert settings["memory_read"] == "softmax" and settings["classes"][0] in SIX
    assert len(list((home / "maps").rglob("*.png"))) == 2 * (6 + 6 + 1)


def test_maps_of_a_folder(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    images = tmp_path / "my images"
    (images / "deep").mkdir(parents=True)
    Image.new("RGB", (70, 40)).save(images / "deep" / "a.jpg")
    (images / "b.png").write_text("broken")
    line = [*flags(home, "--mem_actmap --all_class"), "--outdir", str(images)]
    for _ in range(2):  # the second run does not draw the pictures of the first
        evaluation.main([*line, "--images", str(images)])
    assert capsys.readouterr().err.count("skipped: ") == 2
    folder = images / "memory_activation" / "my images"
    assert Image.open(folder / "plain" / "traffic_light" / "deep" / "a.png").size == (70, 40)
    assert len(list(folder.rglob("*.png"))) == 19 + 19 + 1


# Processes and packages


def test_processes_share_the_images(home: Path, threads: Callable[[int], None], tmp_path: Path) -> None:
    line = f"--dataset gtav bdd100k --tsne --pca --mem_actmap --gumbel_eval 1 --out {home}"
    threads(1)
    draw(home, f"{line}/one")
    first, second = run_ranks(evaluate_and_tell, 2, tmp_path, [flags(home, f"{line}/two")])
    assert "memory items" in first and not second
    for file in (home / "one").rglob("*.png"):
        assert file.read_bytes() == (home / "two" / file.relative_to(home / "one")).read_bytes(), file


def test_missing_package(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openTSNE", None)
    with pytest.raises(UsageError, match=r"^--tsne: the package openTSNE cannot be loaded") as error:
        draw(home, "--dataset gtav --tsne")
    assert "\n" not in str(error.value)
