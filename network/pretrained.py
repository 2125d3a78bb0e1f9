"""The weights that a backbone starts from: torchvision's ImageNet weights, a file, or none."""

from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from utils.errors import UsageError, first_line
from utils.forms import misfit
from utils.safe_loading import Unreadable, load_safely

NOT_NEEDED = "fc.", "classifier."  # torchvision's names of the classifier, which a backbone does not have
WITHIN = "backbone.", "encoder."  # of torchvision and mmsegmentation, of segmentation_models_pytorch
FLAG = "--pretrained_backbone"


@torch.no_grad()
def load_backbone(net: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Copy the ``weights`` of ``source`` into ``net``.  All names and shapes must fit, except the classifier's."""
    missing, unknown, others = misfits(net, weights)
    if missing or unknown or others:
        raise UsageError(
            f"{FLAG} {source}: is of another network: {len(missing)} entries are missing, {len(unknown)} unknown, "
            f"{len(others)} of other shapes, e.g. {min(missing | unknown | others)}; give a file of this backbone, or "
            "'none'"
        )
    for key, value in net.state_dict().items():  # MNASNet refuses a state_dict without its version
        if key in weights and not key.startswith(NOT_NEEDED):
            value.copy_(weights[key])


def misfits(net: nn.Module, weights: Mapping[str, Tensor]) -> tuple[set[str], set[str], set[str]]:
    """Return the entries of ``net`` that ``weights`` lack, those that ``net`` lacks, and those of other shapes."""
    weights = {key: value for key, value in weights.items() if not key.startswith(NOT_NEEDED)}
    own = {key: value for key, value in net.state_dict().items() if not key.startswith(NOT_NEEDED)}
    counters = {key for key in own if key.endswith("num_batches_tracked")}  # old files have none
    others = {key for key in own.keys() & weights.keys() if own[key].shape != weights[key].shape}
    return own.keys() - counters - weights.keys(), weights.keys() - own.keys(), others


def backbone_entries(weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return the entries of the backbone in a segmentation network of another framework; all if there is none."""
    parts = ({key.removeprefix(prefix): weights[key] for key in weights if key.startswith(prefix)} for prefix in WITHIN)
    return next(filter(None, parts), weights)


def pretrained_weights(source: str, model: str | None) -> Mapping[str, Tensor] | None:
    """The weights that ``--pretrained_backbone`` names: ``imagenet`` (downloaded once), ``none``, or a file's path.

    ``model`` is torchvision's name of the backbone, or None if torchvision has no weights for it.
    """
    if source == "none":
        return None
    if source != "imagenet":
        return weights_of_file(source)
    remedy = "give the path of a file instead, or 'none' to start from random weights"
    if model is None:
        raise UsageError(f"{FLAG} imagenet: there is no download for this backbone; {remedy}")
    try:
        return torchvision.models.get_model_weights(model)["IMAGENET1K_V1"].get_state_dict(progress=True)
    except (OSError, RuntimeError, HTTPException) as error:
        raise UsageError(f"{FLAG} imagenet: {model} cannot be downloaded ({first_line(error)}); {remedy}") from error


def weights_of_file(source: str) -> Mapping[str, Tensor]:
    try:
        weights = load_safely(Path(source))
        if isinstance(weights, Mapping):
            weights = weights.get("state_dict", weights)  # of mmsegmentation
        problem = misfit(weights, {str: Tensor})
    except Unreadable as error:
        problem = str(error)
    if problem:
        raise UsageError(
            f"{FLAG} {source}: not a readable file of weights ({problem}); give one that torch.save wrote of a "
            "state_dict, with torchvision's key names"
        )
    return backbone_entries(weights)
