"""Networks: fingerprints, shapes, the release's names of their parts, where the backbone's weights come from."""

from pathlib import Path

import pytest
import torch
import torchvision

from golden import golden_path
from network.deeplab import build_network
from network.memory import CategoricalMemory
from utils.errors import UsageError
from utils.release_names import ITEMS, as_release, from_release, to_ours, to_release


@pytest.mark.parametrize(("memory", "parameters"), [(True, 45_284_057), (False, 45_081_542)])
def test_parameter_counts_of_the_paper(memory: bool, parameters: int) -> None:
    net = build_network("network.deepv3plus.DeepR50V3PlusD", 19, memory=CategoricalMemory(19) if memory else None)
    assert sum(param.numel() for param in net.parameters()) == parameters


@pytest.mark.parametrize("stride", [8, 16, 32])
@torch.no_grad()
def test_output_strides_and_any_number_of_classes(stride: int) -> None:
    net = build_network("DeepR18V3PlusD", 7, memory=CategoricalMemory(9, dim=32), dim=32, output_stride=stride)
    out = net.train()(torch.randn(2, 3, 64, 96))
    assert out.logits.shape == (2, 7, 64, 96) and out.aux.shape[:2] == (2, 7)
    assert out.features.shape == (2, 32, 64 // stride, 96 // stride)
    assert out.reading.weights.shape == (2, 9, 64 // stride, 96 // stride)
    assert net.eval()(torch.randn(1, 3, 50, 70)).aux is None


@pytest.mark.parametrize(
    ("name", "arch", "memory"),
    [
        ("r18v3p_mem", "DeepR18V3PlusD", True),
        ("r50v3p_mem", "DeepR50V3PlusD", True),
        ("r50v3p_base", "DeepR50V3PlusD", False),
        ("r50v3p_os8_mem", "DeepR50V3PlusD_OS8", True),
        ("r101v3p_mem", "DeepR101V3PlusD", True),
        ("r101v3p_os8_base", "DeepR101V3PlusD_OS8", False),
    ],
)
def test_names_of_the_release(name: str, arch: str, memory: bool) -> None:
    lines = [line for line in golden_path(f"keys_{name}.txt").read_text().splitlines() if not line.startswith("#")]
    theirs = {key: shape for key, shape, _ in (line.split("\t") for line in lines)}
    with torch.device("meta"):
        state = build_network(arch, 19, memory=CategoricalMemory(19) if memory else None).state_dict()
    ours = {key: "x".join(map(str, value.shape)) or "scalar" for key, value in state.items() if key != ITEMS}
    assert {to_ours(key): shape for key, shape in theirs.items()} == ours
    assert {to_release(key): shape for key, shape in ours.items()} == theirs
    exported, items = as_release(state)
    assert (items is not None) == memory
    assert from_release(exported, items).keys() == state.keys()


def test_backbone_from_a_file(tmp_path: Path) -> None:
    source = torchvision.models.resnet18()
    weights = {key: value.half() for key, value in source.state_dict().items() if not key.startswith("fc.")}
    torch.save(weights, tmp_path / "backbone.pth")
    net = build_network("DeepR18V3PlusD", 19, pretrained=str(tmp_path / "backbone.pth"))
    loaded = net.encoder.backbone.stages[3][1].conv2.weight
    torch.testing.assert_close(loaded, source.layer4[1].conv2.weight, rtol=1e-3, atol=1e-4)

    del weights["layer1.0.conv1.weight"]
    torch.save(weights, tmp_path / "broken.pth")
    with pytest.raises(UsageError, match=r"1 keys missing.*layer1\.0\.conv1"):
        build_network("DeepR18V3PlusD", 19, pretrained=str(tmp_path / "broken.pth"))
    torch.save({"state_dict": weights}, tmp_path / "nested.pth")
    for name, arch, told in [
        ("absent.pth", "DeepR18V3PlusD", "not a readable file of weights"),
        ("nested.pth", "DeepR18V3PlusD", "not a plain dictionary"),
        ("backbone.pth", "DeepR50V3PlusD", "have other shapes"),
    ]:
        with pytest.raises(UsageError, match=told):
            build_network(arch, 19, pretrained=str(tmp_path / name))


def test_no_network_no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", offline)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(UsageError, match=r"--pretrained_backbone imagenet.*cannot be downloaded.*'none'"):
        build_network("DeepR18V3PlusD", 19, pretrained="imagenet")


def test_unknown_arch_lists_the_known() -> None:
    with pytest.raises(UsageError, match=r"DeepR99.*DeepR50V3PlusD"):
        build_network("network.deepv3plus.DeepR99V3PlusD", 19)
