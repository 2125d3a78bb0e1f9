"""Recognise the network of a state dict by the names and shapes of its entries."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from checkpoints.release_format import ITEMS, to_release
from network.archs import ARCHS, DEEP_STEMS
from network.backbones import BACKBONES
from network.categorical_memory import CategoricalMemory
from network.deeplab import build_network
from network.instance_norms import INSTANCE, INSTANCE_AFFINE, NAME, SELECTIVE_WHITENING, SWITCHABLE, WHITENING
from utils.errors import UsageError

Shapes = Mapping[str, torch.Size]
Numbers = tuple[int, ...]  # of --wt_layer
Misfits = Mapping[str, Sequence[str]]  # entries that are "missing", "unexpected" or "of another shape"

STEM, STAGES = "encoder.backbone.stem", "encoder.backbone.stages"
NONE: Numbers = (0,)
SILENT: Numbers = (INSTANCE, WHITENING, SELECTIVE_WHITENING)  # these norms have no entries
LISTED = 3  # names per sort of misfit in a message


class Recognised(NamedTuple):
    """What the entries say about a network.  They do not say its output stride, nor which of some norms it has."""

    archs: tuple[str, ...]  # the names of --arch that fit, the usual one first; they differ in the output stride
    num_classes: int
    aux: bool
    dim: int
    decoder_dim: int
    slots: int | None  # of the memory; None without one
    norms: tuple[Numbers, ...]  # for each place of --wt_layer the numbers that fit, the likeliest first

    @property
    def wt_layer(self) -> list[int]:
        """The likeliest ``--wt_layer``."""
        return [numbers[0] for numbers in self.norms]


def recognise(weights: Mapping[str, Tensor], source: object) -> Recognised:
    """Return the network that has exactly these entries.

    UsageError if there is none.  It begins with ``source`` and calls the entries by their names in the release.
    """
    shapes = {key: value.shape for key, value in weights.items()}
    options = read_options(shapes)
    misfits: dict[tuple[str, ...], Misfits] = {}
    for archs in candidates(shapes):
        misfits[archs] = compare(shapes, expected_shapes(archs[0], options))
        if not any(misfits[archs].values()):
            return options._replace(archs=archs)
    nearest = min(misfits, key=lambda archs: sum(map(len, misfits[archs].values())))
    raise UsageError(
        f"{source}: fits no network of --arch; compared with the nearest one, {nearest[0].rpartition('.')[2]}, its "
        f"entries are {describe(misfits[nearest])}; give another checkpoint"
    )


def read_options(shapes: Shapes) -> Recognised:
    """Read all but the backbone, with the usual values where the expected entries are absent."""
    sums_branches = head_of(shapes) == "v2"
    has_memory = any(key.startswith("memory.") for key in shapes)
    slots = size(shapes, ITEMS, 0) or size(shapes, "memory.classifier.weight", 0) or 19
    return Recognised(
        archs=(),
        num_classes=size(shapes, "classifier.weight", 0) or 19,
        aux=any(key.startswith("aux.") for key in shapes),
        dim=size(shapes, "encoder.aspp.branches.0.0.weight" if sums_branches else "encoder.project.0.weight", 0) or 256,
        decoder_dim=size(shapes, "classifier.weight", 1) or 256,
        slots=slots if has_memory else None,
        norms=norms_of(shapes),
    )


def size(shapes: Shapes, key: str, axis: int) -> int | None:
    shape = shapes.get(key, ())
    return shape[axis] if axis < len(shape) else None


def head_of(shapes: Shapes) -> str:
    if any(key.startswith("encoder.aspp.branches.") for key in shapes):
        return "v2"
    return "v3plus" if any(key.startswith("shallow.") for key in shapes) else "v3"


def norms_of(shapes: Shapes) -> tuple[Numbers, ...]:
    """Return for each place of ``--wt_layer`` the numbers that fit, the likeliest first."""
    if f"{STAGES}.0.0.conv1.weight" not in shapes:  # not a ResNet: the stem ends with its norm
        stem = [NONE, NONE, added_norm(shapes, STEM)]
    elif f"{STEM}.3.weight" in shapes:  # a stem of three convolutions
        stem = [stem_norm(shapes, place) for place in (1, 4, 7)]
    else:
        stem = [NONE, NONE, stem_norm(shapes, 1)]
    return (*stem, *(added_norm(shapes, f"{STAGES}.{stage}") for stage in range(4)))


def added_norm(shapes: Shapes, part: str) -> Numbers:
    """Read the norm at the end of a part of the backbone, which may have none."""
    entries = {key.rpartition(".")[2] for key in shapes if key.startswith(f"{part}.") and f"{NAME}." in key}
    return norm_with(entries) if entries else NONE + SILENT


def stem_norm(shapes: Shapes, place: int) -> Numbers:
    """Read the norm in the stem of a ResNet, which replaces a batch norm."""
    prefix = f"{STEM}.{place}."
    entries = {key.removeprefix(prefix) for key in shapes if key.startswith(prefix)}
    if "running_var" in entries:
        return NONE
    return norm_with(entries) if entries else SILENT


def norm_with(entries: set[str]) -> Numbers:
    return (SWITCHABLE,) if "running_covariance" in entries else (INSTANCE_AFFINE,)


def candidates(shapes: Shapes) -> list[tuple[str, ...]]:
    """Return the names of the networks with this head, grouped by backbone.

    Backbones with another number of channels are left out, unless all have another one.
    """
    head = head_of(shapes)
    channels = size(shapes, "encoder.aspp.branches.0.0.weight" if head == "v2" else "encoder.aspp.convs.0.0.weight", 1)
    groups: dict[str, tuple[str, ...]] = {}
    for arch, row in ARCHS.items():
        if row.head == head:
            groups[row.backbone] = (*groups.get(row.backbone, ()), arch)
    return [archs for name, archs in groups.items() if BACKBONES[name].channels[3] == channels] or [*groups.values()]


def expected_shapes(arch: str, options: Recognised) -> Shapes:
    """Return the entries of the network ``arch`` with these options."""
    wt_layer = options.wt_layer
    if ARCHS[arch].backbone not in DEEP_STEMS:
        wt_layer[:2] = 0, 0  # other stems have only the third place
    with torch.device("meta"):  # without values
        memory = CategoricalMemory(options.slots, dim=options.dim) if options.slots else None
        net = build_network(
            arch,
            options.num_classes,
            memory=memory,
            dim=options.dim,
            decoder_dim=options.decoder_dim,
            aux=options.aux,
            wt_layer=wt_layer,
        )
    return {key: value.shape for key, value in net.state_dict().items()}


def compare(shapes: Shapes, expected: Shapes) -> Misfits:
    return {
        "missing": [key for key in expected if key not in shapes],
        "unexpected": [key for key in shapes if key not in expected],
        "of another shape": [key for key in expected if key in shapes and expected[key] != shapes[key]],
    }


def describe(misfits: Misfits) -> str:
    parts = []
    for sort, keys in misfits.items():
        names = ["memory" if key == ITEMS else to_release(key) for key in keys[:LISTED]]
        if keys:
            parts.append(f"{len(keys)} {sort} ({', '.join(names)}{', ...' if len(keys) > LISTED else ''})")
    return ", ".join(parts)
