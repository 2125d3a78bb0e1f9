"""ONNX files and programs of torch.export compute what the network computes, and say what they are."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from checkpoints.run_files import load_checkpoint, write_checkpoint
from datasets.demo import write_demo
from datasets.labels import CLASSES, STANDARD
from engine import exporting
from engine.build import network_from
from engine.evaluating.prediction import Inference, Predictor
from support.golden import seed_weights
from support.snapshots import MEMORY
from tools.export import main
from utils.errors import UsageError

EXAMPLE = Path(__file__).parent.parent / "docs" / "onnx_example.py"


def predictor(content: Mapping[str, Any]) -> Predictor:
    net = network_from(content["network"])
    net.load_state_dict(content["weights"])
    return Predictor(
        net, device=torch.device("cpu"), inference=Inference(), image_in=bool(content["network"].get("image_in"))
    )


@pytest.mark.usefixtures("thin_resnet")
def test_a_file_that_needs_no_code_of_ours(checkpoints: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """The example colours a picture as our own evaluation does, and images may be smaller than the stride of 32."""
    onnxruntime = pytest.importorskip("onnxruntime")
    onnx, program, colours = tmp_path / "new" / "net.onnx", tmp_path / "net.pt2", tmp_path / "colours.png"
    main([str(checkpoints / "ours.pth"), str(onnx), "--program", str(program)])
    table = capsys.readouterr().out
    assert table.count("net.onnx") == table.count("net.pt2") == 4 and "2,97,161" in table
    assert [path.name for path in onnx.parent.iterdir()] == ["net.onnx"]  # the weights are in it

    write_demo(tmp_path / "data", domains=["cityscapes"], train=1, val=1, size=(50, 77), seed=1, workers=1)
    picture = next((tmp_path / "data").rglob("*_leftImg8bit.png"))
    subprocess.run([sys.executable, EXAMPLE, onnx, picture, colours], check=True, cwd=tmp_path)
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    predict = predictor(load_checkpoint(checkpoints / "ours.pth"))
    ids = predict(torch.tensor(pixels).permute(2, 0, 1), (), index=0)
    assert np.mean(STANDARD.colourise(ids.numpy()) == np.asarray(Image.open(colours))) > 0.999

    session = onnxruntime.InferenceSession(onnx)
    facts = session.get_modelmeta().custom_metadata_map
    assert [entry["name"] for entry in json.loads(facts["classes"])] == list(CLASSES)
    assert facts["arch"] == "DeepR18V3PlusD" and facts["iteration"] == "0"
    assert json.loads(facts["network"])["memory"] == MEMORY
    assert session.get_inputs()[0].shape == ["batch", 3, "height", "width"]
    for size in ((1, 5, 31), (2, 1, 1)):
        images = exporting.pictures(*size)
        (logits,) = session.run(["logits"], {"images": images.numpy()})
        np.testing.assert_allclose(logits, predict.logits(predict.normalised(images)).detach(), rtol=1e-3, atol=1e-5)


@pytest.mark.usefixtures("thin_resnet")
def test_program_of_the_authors_file(checkpoints: Path, tmp_path: Path) -> None:
    path, extra = tmp_path / "net.pt2", {"metadata.json": ""}
    main([str(checkpoints / "theirs.pth"), "--program", str(path), "--output_stride", "16", "--image_in"])
    run = torch.export.load(path, extra_files=extra).module()
    facts = json.loads(extra["metadata.json"])
    network = json.loads(facts["network"])
    assert network["image_in"] and network["output_stride"] == 16 and "iteration" not in facts
    assert [tuple(x.shape) for x in run(exporting.pictures(1, 33, 18))] == [(1, 19, 33, 18), (1, 33, 18)]


@pytest.mark.parametrize("factor", [0.999, float("nan")])
def test_a_file_that_computes_something_else(factor: float) -> None:
    def run(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return images.float(), images.argmax(1)

    exporting.compare({Path("net.pt2"): run}, lambda images: images.float())
    with pytest.raises(UsageError, match=r"^net.onnx: computes something else .* the file stays"):
        exporting.compare({Path("net.onnx"): run}, lambda images: factor * images.float())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{home}/ours.pth", "nothing to write; give OUT.onnx"),
        ("{home}/ours.pth x.pt2", "OUT x.pt2: give a name that ends in .onnx"),
        ("{home}/ours.pth --program x.onnx", "--program x.onnx: give a name that ends in .pt2"),
        ("{home}/ours.pth --program taken.pt2", "--program taken.pt2: exists already; .*--force"),
        ("{home}/absent.pth --program x.pt2", "CKPT .*absent.pth: no such file"),
        ("{home}/theirs.pth --program x.pt2 --arch DeepR50V3D", "theirs.pth: another network .*: there DeepR18V3PlusD"),
        ("{home}/ours.pth x.onnx", "OUT x.onnx: the package onnxscript cannot be loaded .*pip install onnx onnxscript"),
    ],
)
@pytest.mark.usefixtures("thin_resnet")
def test_exports_that_are_refused(
    line: str, message: str, checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    monkeypatch.setitem(sys.modules, "onnx", sys)  # there, whether it is installed or not
    (tmp_path / "taken.pt2").touch()
    with pytest.raises(UsageError, match=message):
        main(line.format(home=checkpoints).split())
    assert [path.name for path in tmp_path.iterdir()] == ["taken.pt2"]


WITHOUT, OTHERS = {"memory": None}, {"memory": MEMORY | {"centred": True, "residual": True}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arch", "facts"),
    [
        *((f"Deep{name}", facts) for name in ("R50V2D", "R50V3D", "R50V3PlusD") for facts in ({}, WITHOUT)),
        *((f"DeepMobileNet{head}", facts) for head in ("V3D", "V3PlusD") for facts in ({}, WITHOUT)),
        *(("DeepR18V3PlusD", {"wt_layer": [0, 0, norm, norm, norm, 0, 0]}) for norm in range(1, 6)),
        ("DeepShuffleNetV3PlusD", {"wt_layer": [0, 0, 4, 4, 4, 0, 0]}),
        ("DeepMNASNet05V3PlusD", OTHERS),
        ("DeepR18V3D", {"image_in": True, "num_classes": 7}),
        *((f"timm:test_{name}", {}) for name in ("convnext", "efficientnet", "resnet", "vit")),
    ],
)
def test_networks(arch: str, facts: dict[str, Any], tmp_path: Path) -> None:
    """``main`` compares both files with the network and raises an error if they differ."""
    pytest.importorskip("onnxscript")
    config = {
        "arch": arch,
        "num_classes": 19,
        "output_stride": None,
        "aux": False,
        "dim": 256,
        "memory": MEMORY,
    } | facts
    weights = seed_weights(network_from(config)).state_dict()
    content = {"network": config, "weights": weights, "iteration": 0, "flags": {}, "code": ""}
    write_checkpoint(tmp_path / "net.pth", content)
    rounds_up = arch in ("timm:test_convnext", "timm:test_resnet")  # by math.ceil, which torch cannot store
    programs = [] if rounds_up else ["--program", str(tmp_path / "net.pt2")]
    main([*(str(tmp_path / name) for name in ("net.pth", "net.onnx")), *programs])
