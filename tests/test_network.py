"""Networks: sizes, shapes, the release's names, added norms, and the weights that a backbone starts from."""

import re
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import torchvision

from checkpoints.release_format import ITEMS, parse_release, release_content, to_ours, to_release
from network.archs import ARCHS, check_norms
from network.backbones import NO_NORMS
from network.categorical_memory import CategoricalMemory
from network.deeplab import build_network
from network.instance_norms import WhiteningNorm
from support.golden import golden_path, net_called
from utils.errors import UsageError

MOBILE = "DeepMobileNetV3PlusD"


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


@pytest.mark.parametrize("stride", [16, 32])
@pytest.mark.parametrize("arch", ["DeepR18V3PlusD", MOBILE, "DeepMNASNet05V3PlusD", "DeepShuffleNetV3PlusD"])
@torch.no_grad()
def test_crops_that_leave_a_norm_one_pixel(arch: str, stride: int) -> None:
    backbone = build_network(arch, 19, output_stride=stride).encoder.backbone.eval()
    for side in (8, 9, 16, 17, 32, 33):
        for place, features in enumerate(backbone(torch.zeros(1, 3, side, side)), start=3):
            layers = [*NO_NORMS[:place], 4, *NO_NORMS[place + 1 :]]
            one_pixel = features.shape[2:] == (1, 1)
            with pytest.raises(UsageError) if one_pixel else nullcontext():
                check_norms(arch, layers, output_stride=stride, side=side)


KEYS = [
    "r18v3p_mem", "r50v3p_base", "r50v3p_mem", "r50v3p_os8_mem", "r50v3p_ibn", "r50v3p_ibn_mem", "r50v3p_in",
    "r50v3p_isw", "r50v3p_irw", "r101v3p_mem", "r101v3p_os8_base", "r50v3_base", "r50v2_mem", "r101v2_base",
    "r101v2_mem", "resnext50_base", "resnext101_base", "wide50_base", "wide101_base", "mnas05_base", "mnas10_base",
    "mobile_mem", "mobile_os8_mem", "mobile_ibn", "mobile_isw", "shuffle_mem", "shuffle_os8_mem", "shuffle_os32_mem",
    "shuffle_ibn", "shuffle_isw",
]  # fmt: skip


@pytest.mark.parametrize("name", KEYS)
def test_names_of_the_release(name: str) -> None:
    lines = [line for line in golden_path(f"keys_{name}.txt").read_text().splitlines() if not line.startswith("#")]
    theirs = {key: shape for key, shape, _ in (line.split("\t") for line in lines)}
    with torch.device("meta"):
        state = net_called(name).build().state_dict()
    ours = {key: "x".join(map(str, value.shape)) or "scalar" for key, value in state.items() if key != ITEMS}
    assert {to_ours(key): shape for key, shape in theirs.items()} == ours
    assert {to_release(key): shape for key, shape in ours.items()} == theirs
    content = release_content(dict.fromkeys(state, torch.zeros(1)))
    assert ("memory" in content) == name.endswith("mem")
    assert parse_release(content, Path("x.pth"))[0].keys() == state.keys()


@pytest.mark.parametrize("arch", ARCHS)
def test_output_stride_of_every_row(arch: str) -> None:
    row = ARCHS[arch]
    with torch.device("meta"):
        net = build_network(arch, 19, memory=CategoricalMemory(19)).train()
        assert {to_ours(to_release(key)) for key in net.state_dict()} == net.state_dict().keys()
        net.memory = None  # autocast does not know the meta device
        maps = net.encoder.backbone(torch.empty(2, 3, 64, 96))
        out = net(torch.empty(2, 3, 64, 96))
    assert tuple(x.shape[1] for x in maps) == net.encoder.backbone.channels
    assert out.features.shape == (2, 256, 64 // row.output_stride, 96 // row.output_stride)
    assert out.logits.shape == (2, 19, 64, 96) and out.aux.shape[1] == 19
    stated = re.search(r"_OS(\d+)$", arch)
    assert stated is None or row.output_stride == int(stated[1])


PLACES = [  # the network, the number of places in its stem, the number of --wt_layer
    *(("DeepR18V3PlusD", 1, kind) for kind in (2, 4, 5)), *((MOBILE, 1, kind) for kind in (1, 3)),
    ("DeepMNASNet05V3D", 1, 4), ("DeepShuffleNetV3PlusD", 1, 5), ("DeepR101DeepStemV3PlusD_OS8", 3, 2),
]  # fmt: skip


@pytest.mark.parametrize(("arch", "stem", "kind"), PLACES)
def test_norms_at_every_place(arch: str, stem: int, kind: int) -> None:
    wt_layer = [kind if place >= 3 - stem else 0 for place in range(7)]
    memory = CategoricalMemory(5, dim=16)
    net = build_network(arch, 5, memory=memory, dim=16, wt_layer=wt_layer).train()
    out = net(torch.randn(2, 3, 64, 64))
    assert len(out.whitened) == (stem + 4 if kind in (1, 2) else 0)
    for x in out.whitened:
        torch.testing.assert_close(x.mean((2, 3)), torch.zeros(x.shape[:2]), atol=1e-4, rtol=0)
    items = memory.write(out.features, torch.randint(0, 5, (2, 64, 64)), memory.items)
    results = [out.logits, out.aux, items, memory.classifier(items), *out.whitened]
    sum((x + 1).square().mean() for x in results).backward()
    assert all(param.grad is not None and param.grad.isfinite().all() for param in net.parameters())
    learnt = {4: 2 * (stem + 4), 5: 4 * (stem + 4)}.get(kind, 0)
    # In the stem of a ResNet the norm replaces a batch norm with two parameters.
    replaced = 2 * stem if "R1" in arch else 0
    plain = build_network(arch, 5, memory=memory, dim=16)
    assert len(list(net.parameters())) == len(list(plain.parameters())) + learnt - replaced
    assert all(module.normalised is None for module in net.modules() if isinstance(module, WhiteningNorm))


def test_places_that_a_stem_has() -> None:
    with pytest.raises(UsageError, match=r"--wt_layer.*the third"):
        build_network("DeepR50V3PlusD", 19, wt_layer=[4, 0, 0, 0, 0, 0, 0])


def test_stem_norm_starts_from_the_pretrained_one(tmp_path: Path) -> None:
    source = torchvision.models.resnet18()
    torch.nn.init.uniform_(source.bn1.weight)
    torch.save(source.state_dict(), tmp_path / "backbone.pth")
    path = str(tmp_path / "backbone.pth")
    net = build_network("DeepR18V3PlusD", 19, pretrained=path, wt_layer=[0, 0, 4, 0, 0, 0, 0])
    assert isinstance(net.encoder.backbone.stem[1], torch.nn.InstanceNorm2d)
    assert torch.equal(net.encoder.backbone.stem[1].weight, source.bn1.weight)


@pytest.mark.parametrize(
    ("model", "arch"),
    [("resnet18", "DeepR18V3PlusD"), ("mnasnet0_5", "DeepMNASNet05V3PlusD"), ("mobilenet_v2", MOBILE)],
)
def test_backbone_from_a_file(model: str, arch: str, tmp_path: Path) -> None:
    """In half precision, and without what old files do not have."""
    entries = torchvision.models.get_model(model).state_dict()
    optional = "fc.", "classifier.", "num_batches_tracked"
    weights = {key: value.half() for key, value in entries.items() if not any(name in key for name in optional)}
    torch.save(weights, tmp_path / "backbone.pth")
    net = build_network(arch, 19, pretrained=str(tmp_path / "backbone.pth"))
    assert torch.equal(next(net.encoder.backbone.parameters()).half(), next(iter(weights.values())))


def test_the_classifier_in_a_file_may_have_any_shape(tmp_path: Path) -> None:
    weights = torchvision.models.resnet18(num_classes=10).state_dict()
    torch.save(weights, tmp_path / "backbone.pth")
    net = build_network("DeepR18V3PlusD", 19, pretrained=str(tmp_path / "backbone.pth"))
    assert torch.equal(net.encoder.backbone.stem[0].weight, weights["conv1.weight"])


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    weights = dict(torchvision.models.resnet18().state_dict())
    torch.save({"net": weights}, tmp_path / "nested.pth")
    torch.save(weights, tmp_path / "backbone.pth")
    del weights["layer1.0.conv1.weight"]
    torch.save(weights, tmp_path / "broken.pth")
    for name, arch, message in [
        ("broken.pth", "DeepR18V3PlusD", r"1 entries are missing.*layer1\.0\.conv1"),
        ("absent.pth", "DeepR18V3PlusD", "no such file; give the path of a file"),
        ("nested.pth", "DeepR18V3PlusD", "net is dict"),
        ("backbone.pth", "DeepR50V3PlusD", "backbone.pth: is of another network: .*of other shapes"),
    ]:
        with pytest.raises(UsageError, match=message):
            build_network(arch, 19, pretrained=str(tmp_path / name))


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        ("DeepR18V3PlusD", r"--pretrained_backbone imagenet.*cannot be downloaded.*'none'"),
        ("DeepR101DeepStemV3PlusD_OS8", "--pretrained_backbone imagenet: there is no download"),
        ("DeepR99V3PlusD", r"DeepR99.*DeepR50V3PlusD"),
    ],
)
def test_networks_that_cannot_be_built(arch: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(UsageError, match=message):
        build_network(arch, 19, pretrained="imagenet")
