"""Key names of the authors' release and ours, both ways: its ``DataParallel`` prefix, and the memory kept apart."""

from collections.abc import Mapping

from torch import Tensor

PREFIXES = {  # theirs -> ours
    "layer0.": "encoder.backbone.stem.",
    "layer1.": "encoder.backbone.stages.0.",
    "layer2.": "encoder.backbone.stages.1.",
    "layer3.": "encoder.backbone.stages.2.",
    "layer4.": "encoder.backbone.stages.3.",
    "aspp.img_conv.": "encoder.aspp.pool.",
    "aspp.features.": "encoder.aspp.convs.",
    "aspp.conv2d_list.": "encoder.aspp.branches.",
    "bot_aspp.": "encoder.project.",
    "bot_fine.": "shallow.",
    "final1.": "decoder.",
    "final2.0.": "classifier.",
    "dsn.": "aux.",
    "memory.output.": "memory.fuse.",
    "memory.writenet.writefeat.": "memory.update.",
    "memory.clsfier.": "memory.classifier.",
    "memory.m_items": "memory.items",
}
ENDINGS = {  # of switchable whitening, theirs -> ours
    ".sw_mean_weight": ".mean_mixture",
    ".sw_var_weight": ".covariance_mixture",
    ".running_cov": ".running_covariance",
}
PARALLEL = "module."
ITEMS = "memory.items"


def to_ours(key: str) -> str:
    """Our name of the release's ``key``, with or without its ``module.`` prefix; KeyError for an unknown one."""
    return translate(key.removeprefix(PARALLEL), PREFIXES, ENDINGS)


def to_release(key: str) -> str:
    """The release's name of our ``key``, with its ``module.`` prefix; KeyError for an unknown one."""
    return PARALLEL + translate(key, inverse(PREFIXES), inverse(ENDINGS))


def inverse(names: Mapping[str, str]) -> dict[str, str]:
    return {new: old for old, new in names.items()}


def translate(key: str, prefixes: Mapping[str, str], endings: Mapping[str, str]) -> str:
    for old, new in endings.items():
        if key.endswith(old):
            key = key.removesuffix(old) + new
    for old, new in prefixes.items():
        if key.startswith(old):
            return new + key.removeprefix(old)
    raise KeyError(key)


def as_release(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor | None]:
    """The release's state dict from ours, and the memory apart (None for a network without one)."""
    theirs = {to_release(key): value for key, value in state.items() if key != ITEMS}
    return theirs, state.get(ITEMS)
