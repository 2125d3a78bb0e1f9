"""hubconf.py and the folder of weights to share: arrays equal to eval.py's, equal tensors after every way back."""

import json
import pydoc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file
from test_conversion import check_equal
from test_release_start import training_flags

import eval as evaluation
import train as training
from checkpoints.run_files import load_checkpoint, read_checkpoint, weights_hash, without_paths
from datasets.labels import CLASSES
from datasets.registry import SPECS
from support.programs import exit_code
from tools import convert
from tools.model_card import LICENCES, data
from utils.errors import UsageError

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.usefixtures("thin_resnet")


@pytest.fixture(scope="module")
def shared(checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared") / "weights"
    convert.main([str(checkpoints / "ours.pth"), str(folder), "--to", "hub"])
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Images of every kind that --images reads: odd sizes, grey, alpha, 16 bits, a palette, a turned camera."""
    folder, rng = tmp_path / "pictures", np.random.default_rng(1)
    folder.mkdir()
    pixels = rng.integers(0, 256, (37, 53, 4), np.uint8)
    rgb = Image.fromarray(pixels[..., :3])
    rgb.save(folder / "rgb.png")
    Image.fromarray(pixels).save(folder / "alpha.png")
    Image.fromarray(pixels[:20, :9, 0]).save(folder / "grey.png")
    Image.fromarray(pixels[..., 0].astype(np.uint16) << 8).save(folder / "deep.png")
    rgb.quantize(16).save(folder / "palette.png")
    turned = Image.Exif()
    turned[274] = 6
    rgb.save(folder / "turned.jpg", exif=turned)
    return folder


def load(snapshot: Path, **options: object) -> object:
    return torch.hub.load(str(ROOT), "pinmem", snapshot=str(snapshot), source="local", device="cpu", **options)


# Python use


@pytest.mark.parametrize("snapshot", ["ours.pth", "theirs.pth", "folder"])
def test_predictions_are_those_of_eval(
    snapshot: str, checkpoints: Path, shared: Path, pictures: Path, tmp_path: Path
) -> None:
    path = shared if snapshot == "folder" else checkpoints / snapshot
    line = f"--device cpu --num_workers 0 --images {pictures} --out {tmp_path}/out --snapshot {path}"
    evaluation.main(line.split())
    net = load(path)
    files = sorted(pictures.iterdir())
    for file, train_ids in zip(files, net.predict(files), strict=True):
        written = Image.open(tmp_path / "out" / "pictures" / "train_ids" / f"{file.stem}.png")
        assert train_ids.dtype == np.uint8 and np.array_equal(train_ids, np.asarray(written)), file
        assert np.array_equal(net.predict(str(file)), train_ids)
        if file.stem != "turned":  # pixels of PIL images are not turned
            assert np.array_equal(net.predict(Image.open(file)), train_ids)
        colours = Image.open(tmp_path / "out" / "pictures" / "colours" / f"{file.stem}.png")
        assert np.array_equal(net.colourise(train_ids), np.asarray(colours.convert("RGB")))
    for name in ("rgb", "alpha", "grey"):
        array = np.asarray(Image.open(pictures / f"{name}.png"))
        assert np.array_equal(net.predict(array), net.predict(pictures / f"{name}.png"))


def test_details(shared: Path) -> None:
    net = load(shared)
    image = np.random.default_rng(2).integers(0, 256, (70, 45, 3), np.uint8)
    train_ids, probabilities, memory = net.details([image])[0]
    assert net.classes == CLASSES and net.colours.shape == (19, 3)
    assert np.array_equal(train_ids, net.predict(image)) and np.array_equal(train_ids, probabilities.argmax(0))
    assert probabilities.shape == (19, 70, 45) and memory.shape == (19, 3, 2)  # at stride 32
    for shares in (probabilities, memory):
        assert shares.dtype == np.float32 and np.allclose(shares.sum(0), 1, atol=1e-5)
    assert "DeepR18V3PlusD, 19 classes, a memory of 19 items, cpu" in repr(net) and net.predict([]) == []


def test_help_is_complete(shared: Path) -> None:
    text = pydoc.render_doc(load(shared), renderer=pydoc.plaintext)
    for word in ("predict(", "details(", "colourise(", "H,W uint8", "K,H,W float32", "S,h,w float32", "Errors"):
        assert word in text, word


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("absent.png", "absent.png: unreadable image"),
        (np.zeros((4, 4, 3), np.float32), r"image: an array of float32 in the shape \(4, 4, 3\); give uint8"),
        (np.zeros((3, 4, 5), np.uint8), "in the shape .3, 4, 5.; give uint8"),
        (np.zeros((0, 4, 3), np.uint8), "in the shape .0, 4, 3.; give uint8"),
        (torch.zeros(3, 4, 4), "image: is Tensor; give a path"),
        (Image.new("F", (4, 4)), "image: holds floats .mode F., whose white is unknown; give"),
    ],
)
def test_images_that_are_refused(image: object, message: str, shared: Path) -> None:
    with pytest.raises(UsageError, match=message) as error:
        load(shared).predict(image)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("snapshot", "options", "message"),
    [
        ("absent.pth", {}, "snapshot absent.pth: no such file"),
        (".", {}, "snapshot .: a folder without model.safetensors and config.json"),
        ("{shared}", {"output_stride": 7}, "output_stride 7: give 8, 16 or 32"),
        ("{shared}", {"wt_layer": [0, 0, 4, 4, 4, 0, 0]}, r"another list of norms \(--wt_layer\)"),
    ],
)
def test_networks_that_are_refused(snapshot: str, options: dict, message: str, shared: Path) -> None:
    with pytest.raises(UsageError, match=message):
        load(Path(snapshot.format(shared=shared)), **options)


# Weights to share


def test_ways_there_and_back(checkpoints: Path, tmp_path: Path) -> None:
    """safetensors -> checkpoint, safetensors -> release -> safetensors: equal tensors."""
    first, ours, theirs, again = (tmp_path / name for name in ("first", "ours.pth", "theirs.pth", "again"))
    source = load_checkpoint(checkpoints / "ours.pth")
    convert.main([str(checkpoints / "ours.pth"), str(first), "--to", "hub"])
    convert.main([str(first), str(ours)])
    convert.main([str(first), str(theirs), "--to", "release"])
    convert.main([str(theirs), str(again), "--to", "hub", "--output_stride", "32"])
    contents = [load_checkpoint(path) for path in (first, first / "model.safetensors", ours, again)]
    for content in contents:
        check_equal(content["weights"], source["weights"])
        assert content["network"]["memory"] == source["network"]["memory"]
    hashes = {weights_hash(content["weights"]) for content in (source, *contents[:3])}
    assert len(hashes) == 1  # also the order is the same; the release stores the memory apart
    assert contents[0] == contents[1] | {"weights": contents[0]["weights"]} and contents[0].keys() == source.keys()
    assert contents[0]["network"] == contents[2]["network"] == source["network"]
    check_equal(load_file(first / "model.safetensors"), source["weights"])
    assert torch.equal(read_checkpoint(theirs, "")["memory"], source["weights"]["memory.items"])
    assert sorted(path.name for path in first.iterdir()) == ["README.md", "config.json", "model.safetensors"]


def test_every_program_reads_the_folder(
    data: Path, shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """eval.py, fine-tuning, and training that starts anew; then the card of a run with its scores."""
    monkeypatch.chdir(shared)
    training.main(training_flags(data, tmp_path, "--mldg", "--memory", "--no_aux_loss", "--snapshot", "."))
    assert f"starts from {shared}" in capsys.readouterr().out
    (run,) = (tmp_path / "run").iterdir()
    place = f"--data_root {data} --device cpu --num_workers 0 --limit 1 --mapillary_crop 64"
    evaluation.main([*place.split(), "--dataset", "gtav", "mapillary", "--snapshot", str(run / "last.pth")])
    folder = tmp_path / "mine"
    convert.main([str(run / "last.pth"), str(folder), "--to", "hub"])
    config, card = json.loads((folder / "config.json").read_text()), (folder / "README.md").read_text()
    assert str(data) not in json.dumps(config) + card and str(tmp_path) not in json.dumps(config) + card
    assert config["flags"]["dataset"] == ["gtav", "synthia"] and config["iteration"] == 1
    header = yaml.safe_load(card.split("---\n")[1])
    assert header["license"] == "other" and header["datasets"] == ["gtav", "synthia"]
    assert header["pipeline_tag"] == "image-segmentation"
    for text in (
        "# mine",
        "method: Pin the Memory",
        "- synthia: 4 images (6,580 in its training split), CC BY-NC-SA 3.0",
    ):
        assert text in card
    scored = json.loads((run / "last" / "whole" / "results.json").read_text())["domains"]["mapillary"]
    assert f"| mapillary (unseen) | {100 * scored['mean_iou']:.1f} |" in card and "| gtav (seen) |" in card
    evaluation.main([*place.split(), "--dataset", "gtav", "--snapshot", str(folder)])
    assert (tmp_path / "mine_results" / "whole" / "results.json").exists()
    results = run / "last" / "whole" / "results.json"
    results.write_text(results.read_text().replace('"iteration": 1', '"iteration": 7'))
    convert.main([str(run / "last.pth"), str(folder), "--to", "hub", "--force"])
    assert "Not evaluated." in (folder / "README.md").read_text()  # the scores are of another state


def test_terms_of_all_data_sets(tmp_path: Path) -> None:
    assert LICENCES.keys() == SPECS.keys()
    night, own = data(["bdd100k_night", "campus"], tmp_path / "last.pth")
    assert night.endswith("bdd100k_night: education, research and non-profit use") and own.endswith("of its owner")


def test_flags_without_paths() -> None:
    flags = {"dataset": ["gtav", "custom:/home/a/own"], "data_root": "/data", "split_files": ["/x"], "lr": 0.1}
    assert without_paths(flags) == {"dataset": ["gtav", "own"], "lr": 0.1}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def other_config(path: Path) -> None:
    path.write_text(path.read_text().replace('"arch"', '"other"'))


def other_weights(path: Path) -> None:
    save_file({"layers.0.weight": torch.zeros(2)}, path)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("config.json", Path.unlink, "a folder without config.json; give the path of a checkpoint"),
        ("model.safetensors", Path.unlink, "a folder without model.safetensors; give"),
        ("model.safetensors", cut, "model.safetensors is incomplete or not of safetensors: fetch it again"),
        ("config.json", cut, "config.json: cannot be used .*; fetch the folder again"),
        ("config.json", other_config, "network/other is not known"),
        ("model.safetensors", other_weights, "does not fit the network"),
    ],
)
def test_broken_folders(
    name: str, change: Callable, message: str, shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    for file in shared.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    change(folder / name)
    assert exit_code("eval.py", evaluation.main, ["--snapshot", folder, "--images", tmp_path, "--device", "cpu"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    with pytest.raises(UsageError, match=message):
        load(folder)


def test_a_folder_of_another_project(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    other_weights(tmp_path / "model.safetensors")
    with pytest.raises(UsageError, match="fits no network of --arch"):
        load(tmp_path)
    with pytest.raises(UsageError, match="has the format of hub already"):
        convert.main([str(shared), str(tmp_path / "x"), "--to", "hub"])
