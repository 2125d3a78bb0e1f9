"""eval.py --mem_actmap: maps and sheets; several processes; missing packages."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import eval as evaluation
from datasets.labels import CLASSES, colourise
from engine.figures.activation_maps import activation
from support.figures import SIX, draw, flags, look, make_home, pair
from support.ranks import evaluate_and_tell, run_ranks
from utils.errors import UsageError
from utils.pictures import HEAT, contact_sheet, heat


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("figures"))


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
    assert sheet.size == (4 * 320 + 3 * 4, 2 * (192 + 20) + 4)  # eight tiles
    sheet = np.asarray(sheet)[20 : 20 + 192]
    for column, tile in enumerate((pixels, colourise(output.logits[0].argmax(0).numpy()))):
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


def test_colours_and_sheets() -> None:
    assert np.array_equal(heat(np.linspace(0, 1, 10)[None])[0][[0, -1]], HEAT[[0, -1]])
    assert (np.diff(HEAT @ (299, 587, 114)) > 0).all()  # lighter and lighter
    tile = np.zeros((10, 20, 3), dtype=np.uint8)
    assert contact_sheet(dict.fromkeys("ab", tile), width=40).shape == (20 + 20, 40 + 4 + 40, 3)
    assert contact_sheet(dict.fromkeys("abcde", tile), width=40).shape == (2 * 40 + 4, 4 * 40 + 3 * 4, 3)


def test_processes_share_the_images(home: Path, threads: Callable[[int], None], tmp_path: Path) -> None:
    line = f"--dataset gtav bdd100k --tsne --pca --mem_actmap --gumbel_eval 1 --out {home}"
    threads(1)
    draw(home, f"{line}/one")
    first, second = run_ranks(evaluate_and_tell, 2, tmp_path, [flags(home, f"{line}/two")])
    assert "memory items" in first and not second
    for file in (home / "one").rglob("*.png"):
        assert file.read_bytes() == (home / "two" / file.relative_to(home / "one")).read_bytes(), file


@pytest.mark.parametrize(("package", "more"), [("openTSNE", ""), ("matplotlib", "--pca")])
def test_missing_packages(package: str, more: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=f"^--tsne: the package {package} cannot be loaded") as error:
        draw(home, f"--dataset gtav --tsne {more}")
    assert "\n" not in str(error.value)
