"""The weights that a backbone starts from: torchvision's ImageNet weights, a file, or none."""

from collections.abc import Mapping
from http.client import HTTPException

import torch
import torchvision
from torch import Tensor, nn

from utils.errors import UsageError, first_line

CLASSIFIERS = ("fc.", "classifier.")  # torchvision's names; a backbone has no classifier


@torch.no_grad()
def load_backbone(net: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy ``weights`` (with torchvision's names) into ``net``.  All must fit; only the classifier may be missing."""
    own = net.state_dict()
    misfits = [key for key, value in weights.items() if key in own and value.shape != own[key].shape]
    if misfits:
        raise UsageError(
            f"--pretrained_backbone: the file is of another network: {len(misfits)} of its entries have other shapes "
            f"({', '.join(misfits[:3])}); give a file of this backbone, or 'none'"
        )
    optional = [key for key in own if key.startswith(CLASSIFIERS) or key.endswith("num_batches_tracked")]
    missing = [key for key in own if key not in weights and key not in optional]
    unexpected = [key for key in weights if key not in own]
    if missing or unexpected:
        raise UsageError(
            f"--pretrained_backbone: the file does not fit {type(net).__name__}: {len(missing)} keys missing "
            f"{missing[:3]}, {len(unexpected)} unexpected {unexpected[:3]}; give a file of this backbone, or 'none'"
        )
    for key, value in weights.items():
        own[key].copy_(value)


def pretrained_weights(source: str, model: str | None) -> Mapping[str, Tensor] | None:
    """The weights that ``--pretrained_backbone`` names: ``imagenet`` (downloaded once), ``none``, or a file's path.

    ``model`` is torchvision's name of the backbone, or None if torchvision has no weights for it.
    """
    if source == "none":
        return None
    if source != "imagenet":
        return weights_of_file(source)
    if model is None:
        raise UsageError(
            "--pretrained_backbone imagenet: there is no download for this backbone; give the path of a file instead, "
            "or 'none' to start from random weights"
        )
    try:
        return torchvision.models.get_model_weights(model)["IMAGENET1K_V1"].get_state_dict(progress=True)
    except (OSError, RuntimeError, HTTPException) as error:
        raise UsageError(
            f"--pretrained_backbone imagenet: {model} cannot be downloaded ({first_line(error)}); give the path "
            "of the file instead, or 'none' to start from random weights"
        ) from error


def weights_of_file(source: str) -> Mapping[str, Tensor]:
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
    return weights
