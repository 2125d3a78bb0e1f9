"""Recognise the network of a state dict by the names and shapes of its entries."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from checkpoints.release_format import ITEMS, to_release
from network.archs import ARCHS, DEEP_STEMS, short_name
from network.backbones import BACKBONES
from network.categorical_memory import CategoricalMemory
from network.deeplab import build_network
from network.instance_norms import INSTANCE, INSTANCE_AFFINE, NAME, SELECTIVE_WHITENING, SWITCHABLE, WHITENING
from utils.errors import UsageError

Shapes = Mapping[str, torch.Size]
Numbers = tuple[int, ...]  # of --wt_layer

STEM, STAGES = "encoder.backbone.stem", "encoder.backbone.stages"
NONE: Numbers = (0,)
SILENT: Numbers = (SELECTIVE_WHITENING, WHITENING, INSTANCE)  # these norms have no entries


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
    """Return the network that has exactly these entries; UsageError, with the release's names, if there is none."""
    shapes = {key: value.shape for key, value in weights.items()}
    options = read_options(shapes)
    misfits: dict[str, list[str]] = {}
    for archs in candidates(shapes):
        expected = expected_shapes(archs[0], options)
        differing = sorted({key for key, _ in shapes.items() ^ expected.items()})
        if not differing:
            return options._replace(archs=archs)
        misfits[short_name(archs[0])] = differing
    nearest = min(misfits, key=lambda arch: len(misfits[arch]))
    names = ["memory" if key == ITEMS else to_release(key) for key in misfits[nearest]]
    raise UsageError(
        f"{source}: fits no network of --arch; these entries differ from the nearest one, {nearest}, or are missing: "
        f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''}; give another checkpoint"
    )


def read_options(shapes: Shapes) -> Recognised:
    """Read all but the backbone, with the usual values where the expected entries are absent."""
    has_memory = any(key.startswith("memory.") for key in shapes)
    head, classifier = shapes.get("classifier.weight", ()), shapes.get("memory.classifier.weight", (19,))
    features = "encoder.aspp.branches.0.0.weight" if head_of(shapes) == "v2" else "encoder.project.0.weight"
    return Recognised(
        archs=(),
        num_classes=head[0] if head else 19,
        aux=any(key.startswith("aux.") for key in shapes),
        dim=shapes.get(features, (256,))[0],
        decoder_dim=head[1] if len(head) > 1 else 256,
        slots=shapes.get(ITEMS, classifier)[0] if has_memory else None,
        norms=norms_of(shapes),
    )


def head_of(shapes: Shapes) -> str:
    if any(key.startswith("encoder.aspp.branches.") for key in shapes):
        return "v2"
    return "v3plus" if any(key.startswith("shallow.") for key in shapes) else "v3"


def norms_of(shapes: Shapes) -> tuple[Numbers, ...]:
    """Return for each place of ``--wt_layer`` the numbers that fit, the likeliest first."""
    added = NONE + SILENT  # an added norm may be there without a trace
    if f"{STAGES}.0.0.conv1.weight" not in shapes:  # not a ResNet: the stem ends with its norm
        stem = [NONE, NONE, fitting(shapes, STEM, NAME, silent=added)]
    else:  # a norm replaces a batch norm of the stem
        places = (1, 4, 7) if f"{STEM}.3.weight" in shapes else (1,)
        stem = [fitting(shapes, f"{STEM}.{place}", silent=SILENT) for place in places]
    stages = [fitting(shapes, f"{STAGES}.{stage}", NAME, silent=added) for stage in range(4)]
    return (*[NONE] * (3 - len(stem)), *stem, *stages)


def fitting(shapes: Shapes, part: str, name: str = "", *, silent: Numbers) -> Numbers:
    """Return the numbers of norms that have the entries of ``part`` whose keys contain ``name``."""
    entries = {key.rpartition(".")[2] for key in shapes if key.startswith(f"{part}.") and name in key}
    if "running_covariance" in entries:
        return (SWITCHABLE,)
    if "running_var" in entries:  # a batch norm
        return NONE
    return (INSTANCE_AFFINE,) if entries else silent


def candidates(shapes: Shapes) -> list[tuple[str, ...]]:
    """Return the names of the networks with this head and, if there are any, these channels, grouped by backbone."""
    head = head_of(shapes)
    first = "encoder.aspp.branches.0.0.weight" if head == "v2" else "encoder.aspp.convs.0.0.weight"
    groups: dict[str, tuple[str, ...]] = {}
    for arch, row in ARCHS.items():
        if row.head == head:
            groups[row.backbone] = (*groups.get(row.backbone, ()), arch)
    channels = shapes.get(first, (0, 0))[1]
    return [archs for name, archs in groups.items() if BACKBONES[name].channels[3] == channels] or [*groups.values()]


def expected_shapes(arch: str, options: Recognised) -> Shapes:
    """Return the entries of the network ``arch`` with these options."""
    wt_layer = options.wt_layer
    if ARCHS[arch].backbone not in DEEP_STEMS:
        wt_layer[:2] = 0, 0  # other stems have only the third place
    with torch.device("meta"):  # without values
        memory = CategoricalMemory(options.slots, dim=options.dim) if options.slots else None
        parts = {"memory": memory, "aux": options.aux, "wt_layer": wt_layer}
        net = build_network(arch, options.num_classes, dim=options.dim, decoder_dim=options.decoder_dim, **parts)
    return {key: value.shape for key, value in net.state_dict().items()}
