"""The weights that a backbone starts from: those of torchvision or timm, a file, or none."""

import sys
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from utils.errors import UsageError, first_line
from utils.files import no_file
from utils.forms import misfit
from utils.safe_loading import Unreadable, load_safely

NOT_NEEDED = "fc.", "classifier."  # torchvision's names of the classifier, which a backbone does not have
WITHIN = "backbone.", "encoder.", "module."  # of torchvision and mmsegmentation, of SMP, of several processes
WRAPPERS = "state_dict", "model"  # entries of files that hold more than weights, e.g. those of mmsegmentation and DeiT
FLAG = "--pretrained_backbone"
REMEDY = "give the path of a file instead, or 'none' to start from random weights"


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
    """The weights that the flag's value ``source`` names; ``model`` is torchvision's name, None without a download."""
    if source == "none":
        return None
    if source != "imagenet":
        return weights_of_file(source)
    if model is None:
        raise UsageError(f"{FLAG} imagenet: there is no download for this backbone; {REMEDY}")
    try:
        return torchvision.models.get_model_weights(model)["IMAGENET1K_V1"].get_state_dict(progress=True)
    except (OSError, RuntimeError, HTTPException) as error:
        raise UsageError(f"{FLAG} imagenet: {model} cannot be downloaded ({first_line(error)}); {REMEDY}") from error


def weights_of_file(source: str) -> Mapping[str, Tensor]:
    if problem := no_file(Path(source)):
        raise UsageError(f"{FLAG} {source}: {problem}; {REMEDY}")
    try:
        weights = load_safely(Path(source))
        if isinstance(weights, Mapping):
            weights = next((weights[key] for key in WRAPPERS if key in weights), weights)
        problem = misfit(weights, {str: Tensor})
    except Unreadable as error:
        problem = str(error)
    if problem:
        raise UsageError(
            f"{FLAG} {source}: not a readable file of weights ({problem}); give one that torch.save wrote of a "
            "state_dict, with the key names of torchvision or timm, or a .safetensors file"
        )
    return backbone_entries(weights)


def timm_download(name: str, **settings: Any) -> nn.Module:
    """timm's model with its default weights, downloaded once."""
    import timm

    try:
        return timm.create_model(name, pretrained=True, **settings)
    except Exception as error:  # of timm, of its hub or of the network: many types
        problem = f"timm's {name} cannot be downloaded ({first_line(error)})"
        raise UsageError(f"{FLAG} imagenet: {problem}; {REMEDY}") from error


def load_timm_weights(
    net: nn.Module, weights: Mapping[str, Tensor], source: str, *, name: str, settings: Mapping[str, Any]
) -> None:
    """Copy ``weights``, with the names of timm's model ``name``, into ``net``, which is made of its parts.

    timm converts other names, patches and positions to those of the model with these ``settings``.
    """
    import timm

    with torch.device("meta"):
        whole = timm.create_model(name, **settings)
    convert = getattr(sys.modules[type(whole).__module__], "checkpoint_filter_fn", lambda weights, _: weights)
    try:
        converted = convert(dict(weights), whole)
    except Exception as error:  # of any kind
        problem = f"is not of timm's {name} ({first_line(error)})"
        raise UsageError(f"{FLAG} {source}: {problem}; give a file of it") from error
    by_name = {flat(key): value for key, value in converted.items()}
    used = {key: by_name[flat(key)] for key in net.state_dict() if flat(key) in by_name}
    known = {flat(key) for key in whole.state_dict()}
    unknown = {key: value for key, value in converted.items() if flat(key) not in known}
    load_backbone(net, used | unknown, source)


def flat(key: str) -> str:
    """A name that is the same in a model of timm and in its parts, which write 'stages_0' for 'stages.0'."""
    return key.replace(".", "_")
