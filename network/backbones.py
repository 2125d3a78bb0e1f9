"""ResNet backbones that yield their four stages at the output stride asked for."""

from collections.abc import Mapping
from http.client import HTTPException

import torch
import torchvision
from torch import Tensor, nn

from utils.errors import UsageError, first_line

BASIC, BOTTLENECK = (64, 128, 256, 512), (256, 512, 1024, 2048)
CHANNELS = {"resnet18": BASIC, "resnet50": BOTTLENECK, "resnet101": BOTTLENECK}


def dilate(stage: nn.Module, rate: int) -> None:
    """Trade a stage's stride for dilation, in every block (torchvision's own option spares the first one)."""
    for conv in stage.modules():
        if isinstance(conv, nn.Conv2d):
            conv.stride = 1, 1
            if conv.kernel_size != (1, 1):
                conv.dilation = conv.padding = rate, rate


class ResNet(nn.Module):
    """A torchvision ResNet without its classifier.

    ``forward`` maps images (N,3,H,W) to four feature maps, the first at stride 4, the last at ``output_stride``
    (8, 16 or 32).
    """

    def __init__(self, name: str, output_stride: int, weights: Mapping[str, Tensor] | None = None):
        super().__init__()
        net = torchvision.models.get_model(name)
        if weights is not None:
            load_backbone(net, weights)
        self.stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
        self.stages = nn.ModuleList([net.layer1, net.layer2, net.layer3, net.layer4])
        self.channels = CHANNELS[name]
        if output_stride <= 16:
            dilate(self.stages[3], 32 // output_stride)
        if output_stride == 8:
            dilate(self.stages[2], 2)

    def forward(self, images: Tensor) -> list[Tensor]:
        x, maps = self.stem(images), []
        for stage in self.stages:
            maps.append(x := stage(x))
        return maps


def load_backbone(net: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load ``weights`` (torchvision's key names, the classifier ``fc`` optional) strictly."""
    shapes = {key: value.shape for key, value in net.state_dict().items()}
    misfits = [key for key, value in weights.items() if key in shapes and value.shape != shapes[key]]
    if misfits:
        raise UsageError(
            f"--pretrained_backbone: the file is of another network: {len(misfits)} of its entries have other shapes "
            f"({', '.join(misfits[:3])}); give a file of this backbone, or 'none'"
        )
    missing, unexpected = net.load_state_dict(weights, strict=False)
    missing = [key for key in missing if not key.startswith("fc.") and not key.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise UsageError(
            f"--pretrained_backbone: the file does not fit {type(net).__name__}: {len(missing)} keys missing "
            f"{missing[:3]}, {len(unexpected)} unexpected {unexpected[:3]}; give a file of this backbone, or 'none'"
        )


def pretrained_weights(source: str, backbone: str) -> Mapping[str, Tensor] | None:
    """The weights that ``--pretrained_backbone`` names: ``imagenet`` (downloaded once), ``none``, or a file's path."""
    if source == "none":
        return None
    if source == "imagenet":
        try:
            return torchvision.models.get_model_weights(backbone)["IMAGENET1K_V1"].get_state_dict(progress=True)
        except (OSError, RuntimeError, HTTPException) as error:
            raise UsageError(
                f"--pretrained_backbone imagenet: {backbone} cannot be downloaded ({first_line(error)}); give the path "
                "of the file instead, or 'none' to start from random weights"
            ) from error
    try:
        weights = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a broken file
        raise UsageError(
            f"--pretrained_backbone {source}: not a readable file of weights ({first_line(error)}); give one that "
            "torch.save wrote, with torchvision's key names"
        ) from error
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UsageError(
            f"--pretrained_backbone {source}: not a plain dictionary of tensors; save its state_dict alone"
        )
    return {key: value.float() if value.is_floating_point() else value for key, value in weights.items()}
