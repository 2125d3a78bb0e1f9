"""State dicts of other frameworks: translated where the network is ours layer by layer, refused by name elsewhere.

DeepLabV3 of segmentation_models_pytorch on a ResNet, with its usual output stride of 8 and usual rates, is our V3 at
that stride: both dilate all convolutions of a stage, and resize with aligned corners.  Its projection takes the pooled
channels last, ours takes them first.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
import torchvision
from torch import Tensor

from network.archs import ARCHS
from network.backbones import BACKBONES
from network.pretrained import FLAG, backbone_entries, misfits
from utils.errors import UsageError

SMP, SMP_STRIDE = "segmentation_models_pytorch", 8
SMP_PREFIXES = {  # of its DeepLabV3, theirs -> ours
    "encoder.conv1.": "encoder.backbone.stem.0.",
    "encoder.bn1.": "encoder.backbone.stem.1.",
    **{f"encoder.layer{number}.": f"encoder.backbone.stages.{number - 1}." for number in range(1, 5)},
    "decoder.0.convs.4.1.": "encoder.aspp.pool.0.",
    "decoder.0.convs.4.2.": "encoder.aspp.pool.1.",
    "decoder.0.convs.": "encoder.aspp.convs.",
    "decoder.0.project.": "encoder.project.",
    "decoder.1.": "decoder.0.",
    "decoder.2.": "decoder.1.",
    "segmentation_head.0.": "classifier.",
}
PROJECTION = "encoder.project.0.weight"

MARKS = {  # beginnings of entries that a framework's networks have, all of them
    "torchvision": ("backbone.", "classifier."),
    SMP: ("encoder.", "decoder.", "segmentation_head."),
    "mmsegmentation": ("backbone.", "decode_head."),
    "torchvision or timm": ("conv1.", "layer1.", "fc."),
}


def from_framework(state: Mapping[str, Tensor], path: Path) -> tuple[Mapping[str, Tensor], str | None]:
    """Return the ``state`` dict of the file ``path``, and the framework that it is from, if any; then by our names.

    UsageError if the framework's network is none of ours.
    """
    started = {name: all(any(key.startswith(mark) for key in state) for mark in marks) for name, marks in MARKS.items()}
    framework = next((name for name, all_there in started.items() if all_there), None)
    if framework is None:
        return state, None
    if framework == SMP and state.keys() >= {"encoder.layer4.0.conv1.weight", "decoder.0.convs.1.0.weight"}:
        return from_smp(state), SMP
    raise UsageError(f"{path}: a network of {framework} with other layers than those of --arch; {remedy(state, path)}")


def from_smp(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    weights = {}
    for key, value in state.items():
        theirs = next(filter(key.startswith, SMP_PREFIXES), "")
        weights[SMP_PREFIXES.get(theirs, "") + key.removeprefix(theirs)] = value
    if PROJECTION in weights:
        *others, pooled = weights[PROJECTION].chunk(5, dim=1)
        weights[PROJECTION] = torch.cat([pooled, *others], dim=1)
    return weights


def remedy(state: Mapping[str, Tensor], path: Path) -> str:
    """Return how the backbone of a foreign network can be used, if one of ours has its layers."""
    weights = backbone_entries(state)
    for arch, row in ARCHS.items():
        spec = BACKBONES[row.backbone]
        with torch.device("meta"):  # without values
            fits = not spec.modify and not any(misfits(torchvision.models.get_model(spec.model), weights))
        if fits:
            return f"train.py can start from its backbone: {FLAG} {path} --arch {arch.rpartition('.')[2]}"
    return "its backbone is none of ours either: give a checkpoint of train.py or of the authors"
