"""State dicts of torchvision, segmentation_models_pytorch and mmsegmentation: loaded, or refused by name.

The last two are not installed: their networks are put together from torchvision's parts under their names.
"""

import re
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.segmentation import deeplabv3

from checkpoints.adoption import as_ours
from checkpoints.run_files import load_weights, read_checkpoint
from engine.build import network_from
from network.backbones import Backbone
from support.golden import seed_weights
from utils.errors import UsageError


class SMPDeepLabV3(nn.Module):
    """What ``smp.DeepLabV3("resnet18", classes=19)`` computes, at its output stride of 8."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = torchvision.models.resnet18()
        self.encoder.fc = nn.Identity()
        for stage, rate in ((self.encoder.layer3, 2), (self.encoder.layer4, 4)):
            for conv in (module for module in stage.modules() if isinstance(module, nn.Conv2d)):
                conv.stride, conv.dilation = (1, 1), (rate, rate)
                conv.padding = tuple(side // 2 * rate for side in conv.kernel_size)
        conv = nn.Conv2d(256, 256, 3, padding=1, bias=False)
        self.decoder = nn.Sequential(deeplabv3.ASPP(512, [12, 24, 36]), conv, nn.BatchNorm2d(256), nn.ReLU())
        self.segmentation_head = nn.Sequential(nn.Conv2d(256, 19, 1), nn.UpsamplingBilinear2d(scale_factor=8))

    def forward(self, images: Tensor) -> Tensor:
        net = self.encoder
        x = net.maxpool(net.relu(net.bn1(net.conv1(images))))
        return self.segmentation_head(self.decoder(net.layer4(net.layer3(net.layer2(net.layer1(x))))))


@pytest.mark.parametrize("wrapped", [False, True])
@torch.no_grad()
def test_deeplabv3_of_smp_is_ours(wrapped: bool, tmp_path: Path) -> None:
    theirs, path = seed_weights(SMPDeepLabV3()).eval(), tmp_path / "smp.pth"
    state = theirs.state_dict()
    torch.save({"state_dict": {f"module.{key}": state[key] for key in state}} if wrapped else state, path)
    content = as_ours(read_checkpoint(path, "--snapshot"), path)
    assert content["origin"] == {"format": "segmentation_models_pytorch"}
    assert content["network"]["arch"].endswith("DeepR18V3D") and content["network"]["output_stride"] == 8
    ours = network_from(content["network"]).eval()
    load_weights(ours, content["weights"], "--snapshot")
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    expected = theirs(images)
    assert (ours(images).logits - expected).abs().max() < 1e-5 * expected.abs().max()


def torchvision_net(name: str) -> dict[str, Tensor]:
    return torchvision.models.get_model(name, weights=None, weights_backbone=None).state_dict()


def within(prefix: str, model: str, **heads: tuple[int, ...]) -> dict[str, Tensor]:
    """The entries of a ResNet below ``prefix``, and those of ``heads`` (``__`` stands for a dot)."""
    state = torchvision.models.get_model(model).state_dict()
    backbone = {f"{prefix}{key}": state[key] for key in state if not key.startswith("fc.")}
    return backbone | {f"{key.replace('__', '.')}.weight": torch.zeros(shape) for key, shape in heads.items()}


MM_V3PLUS = {"decode_head__conv_seg": (19, 512, 1, 1), "decode_head__aspp_modules__0__conv": (1,)}
SMP_V3PLUS = {"decoder__aspp__0__convs__1__0__0": (1,), "segmentation_head__0": (19, 256, 1, 1)}
SMP_UNET = {"decoder__blocks__0__conv1__0": (1,), "segmentation_head__0": (19, 16, 3, 3)}


def deep_stem(prefix: str, **heads: tuple[int, ...]) -> dict[str, Tensor]:
    """With the stem of ResNetV1c, mmsegmentation's usual backbone."""
    state = within(prefix, "resnet50", **heads)
    stem = {f"{prefix}stem.0.weight": torch.zeros(32, 3, 3, 3)}
    return {key: value for key, value in state.items() if not key.startswith(f"{prefix}conv1")} | stem


@pytest.mark.parametrize(
    ("make", "framework", "arch"),
    [
        (lambda: torchvision_net("deeplabv3_resnet50"), "torchvision", "DeepR50V3PlusD"),
        (lambda: torchvision_net("lraspp_mobilenet_v3_large"), "torchvision", None),
        (lambda: within("", "resnet18", fc=(1000, 512)), "torchvision or timm", "DeepR18V3PlusD"),
        (lambda: within("encoder.", "resnet50", **SMP_V3PLUS), "segmentation_models_pytorch", "DeepR50V3PlusD"),
        (lambda: within("encoder.", "mobilenet_v2", **SMP_UNET), "segmentation_models_pytorch", "DeepMobileNetV3PlusD"),
        (lambda: within("backbone.", "resnet101", **MM_V3PLUS), "mmsegmentation", "DeepR101V3PlusD"),
        (lambda: deep_stem("backbone.", **MM_V3PLUS), "mmsegmentation", None),
    ],
)
def test_other_networks_are_refused_by_name(make: object, framework: str, arch: str | None, tmp_path: Path) -> None:
    """The remedy is true: the backbone starts from the file."""
    path, state = tmp_path / "x.pth", make()
    torch.save({"meta": {"CLASSES": ("road",)}, "state_dict": state} if framework == "mmsegmentation" else state, path)
    with pytest.raises(UsageError, match=f"x.pth: a network of {framework} with other layers") as error:
        as_ours(read_checkpoint(path, "--snapshot"), path)
    advised = re.search(r"--pretrained_backbone (\S+) --arch (\S+)$", str(error.value))
    assert (advised and advised.groups()) == (arch and (str(path), arch))
    if arch:
        names = {"DeepR50": "resnet50", "DeepR101": "resnet101", "DeepR18": "resnet18", "DeepMobileNet": "mobilenet_v2"}
        backbone = Backbone(names[arch.removesuffix("V3PlusD")], 16, pretrained=str(path))
        (first,) = (value for key, value in state.items() if key.endswith(("conv1.weight", "features.0.0.weight")) and
                    value.shape[1] == 3)  # fmt: skip
        assert torch.equal(next(backbone.stem.parameters()), first)
    else:
        assert "its backbone is none of ours either" in str(error.value)
