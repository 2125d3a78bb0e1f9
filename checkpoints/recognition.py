"""Which network a state dict belongs to, told by its names and shapes alone."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch

from checkpoints.release_names import ITEMS
from network.archs import ARCHS, DEEP_STEMS
from network.backbones import BACKBONES
from network.categorical_memory import CategoricalMemory
from network.deeplab import build_network
from network.instance_norms import INSTANCE, INSTANCE_AFFINE, NAME, SELECTIVE_WHITENING, SWITCHABLE, WHITENING
from utils.errors import UsageError

Shapes = Mapping[str, torch.Size]
STEM, STAGES = "encoder.backbone.stem", "encoder.backbone.stages"
SILENT = (INSTANCE, WHITENING, SELECTIVE_WHITENING)  # norms that leave no entry
SHOWN = 3  # entries that are named of those that do not fit


class Recognised(NamedTuple):
    """A network; its output stride and the kinds of some norms leave no trace in a state dict."""

    archs: tuple[str, ...]  # names of --arch, the standard one first; they differ in the output stride
    num_classes: int
    aux: bool
    dim: int
    slots: int | None  # of the memory; None without one
    norms: tuple[tuple[int, ...], ...]  # for each place of --wt_layer the numbers that fit, the likeliest first

    @property
    def wt_layer(self) -> list[int]:
        return [kinds[0] for kinds in self.norms]

    @property
    def may_hold_silent_norms(self) -> bool:
        """Whether there are places where a norm, or none, would leave the same entries."""
        return any(len(kinds) > 1 for kinds in self.norms)

    @property
    def may_hide_whitening(self) -> bool:
        """The same of the stem, which RobustNet always whitens too: a ResNet's tells, that of small networks not."""
        return len(self.norms[2]) > 1

    def fits(self, wt_layer: Sequence[int]) -> bool:
        return all(asked in kinds for asked, kinds in zip(wt_layer, self.norms, strict=True))


class Misfit(NamedTuple):
    """What keeps a state dict from being that of a network."""

    arch: str
    missing: list[str]
    unexpected: list[str]
    reshaped: list[str]

    @property
    def entries(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.reshaped)

    def describe(self, name: Callable[[str], str]) -> str:
        sorts = {"missing": self.missing, "unexpected": self.unexpected, "of another shape": self.reshaped}
        return ", ".join(f"{len(keys)} {what} ({shown(keys, name)})" for what, keys in sorts.items() if keys)


def shown(keys: Sequence[str], name: Callable[[str], str]) -> str:
    return ", ".join(map(name, keys[:SHOWN])) + (", ..." if len(keys) > SHOWN else "")


def recognise(shapes: Shapes, *, source: str, name: Callable[[str], str] = str) -> Recognised:
    """The network whose entries are exactly ``shapes``; UsageError, which begins with ``source`` and calls entries by
    their ``name``, if there is none."""
    recognised = read_off(shapes)
    nearest: Misfit | None = None
    for archs in candidates(shapes):
        misfit = compare(shapes, archs[0], recognised)
        if not misfit.entries:
            return recognised._replace(archs=archs)
        nearest = min(nearest or misfit, misfit, key=lambda each: each.entries)
    raise UsageError(
        f"{source}: fits no network that is known here; against {nearest.arch}, the nearest, its entries are "
        f"{nearest.describe(name)}; give a checkpoint of one of the networks of --arch"
    )


def read_off(shapes: Shapes) -> Recognised:
    """All but the backbone; of a foreign file, what would be usual."""

    def size(key: str, axis: int, usual: int) -> int:
        shape = shapes.get(key, ())
        return shape[axis] if axis < len(shape) else usual

    summed = head_of(shapes) == "v2"
    has_memory = any(key.startswith("memory.") for key in shapes)
    return Recognised(
        archs=(),
        num_classes=size("classifier.weight", 0, 19),
        aux=any(key.startswith("aux.") for key in shapes),
        dim=size("encoder.aspp.branches.0.0.weight" if summed else "encoder.project.0.weight", 0, 256),
        slots=size(ITEMS, 0, size("memory.classifier.weight", 0, 19)) if has_memory else None,
        norms=norms_of(shapes),
    )


def head_of(shapes: Shapes) -> str:
    if any(key.startswith("encoder.aspp.branches.") for key in shapes):
        return "v2"
    return "v3plus" if any(key.startswith("shallow.") for key in shapes) else "v3"


def norms_of(shapes: Shapes) -> tuple[tuple[int, ...], ...]:
    def added(part: str) -> tuple[int, ...]:
        """The norm at the end of a part of the backbone."""
        entries = {key.rpartition(".")[2] for key in shapes if key.startswith(f"{part}.") and f"{NAME}." in key}
        return kinds(entries, without=(0, *SILENT))

    def replaced(index: int) -> tuple[int, ...]:
        """What stands in the stem of a ResNet where batch norm usually does."""
        prefix = f"{STEM}.{index}."
        entries = {key.removeprefix(prefix) for key in shapes if key.startswith(prefix)}
        return (0,) if "running_var" in entries else kinds(entries, without=SILENT)

    if f"{STAGES}.0.0.conv1.weight" not in shapes:  # no ResNet
        stem = [(0,), (0,), added(STEM)]
    elif f"{STEM}.3.weight" in shapes:
        stem = [replaced(1), replaced(4), replaced(7)]
    else:
        stem = [(0,), (0,), replaced(1)]
    return (*stem, *(added(f"{STAGES}.{k}") for k in range(4)))


def kinds(entries: set[str], *, without: tuple[int, ...]) -> tuple[int, ...]:
    """The numbers of ``--wt_layer`` whose norm has these entries."""
    if not entries:
        return without
    return (SWITCHABLE,) if "running_covariance" in entries else (INSTANCE_AFFINE,)


def candidates(shapes: Shapes) -> list[tuple[str, ...]]:
    """The names of all networks with this head and so many channels, those with the same backbone together."""
    head = head_of(shapes)
    first = "encoder.aspp.branches.0.0.weight" if head == "v2" else "encoder.aspp.convs.0.0.weight"
    channels = shapes[first][1] if len(shapes.get(first, ())) == 4 else None
    groups: dict[str, list[str]] = {}
    for arch, row in ARCHS.items():
        if row.head == head:
            groups.setdefault(row.backbone, []).append(arch)
    fitting = [archs for backbone, archs in groups.items() if BACKBONES[backbone].channels[3] == channels]
    return [tuple(archs) for archs in fitting or groups.values()]


def compare(shapes: Shapes, arch: str, like: Recognised) -> Misfit:
    """What differs from the entries of the network ``arch`` that is otherwise ``like`` another one."""
    deep_stem = ARCHS[arch].backbone in DEEP_STEMS
    wt_layer = like.wt_layer if deep_stem else [0, 0, *like.wt_layer[2:]]  # other stems have the third place alone
    with torch.device("meta"):  # without values
        memory = CategoricalMemory(like.slots, dim=like.dim) if like.slots else None
        options = {"dim": like.dim, "aux": like.aux, "wt_layer": wt_layer}
        expected = {
            key: value.shape
            for key, value in build_network(arch, like.num_classes, memory=memory, **options).state_dict().items()
        }
    return Misfit(
        arch.rpartition(".")[2],
        missing=[key for key in expected if key not in shapes],
        unexpected=[key for key in shapes if key not in expected],
        reshaped=[key for key in expected if key in shapes and expected[key] != shapes[key]],
    )
