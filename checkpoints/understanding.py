"""Checkpoints of either kind, ours and the authors': understood, compared with the flags, told about."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from checkpoints.recognition import Recognised, recognise
from checkpoints.release_files import ReleaseFile, parse_release
from checkpoints.release_names import ITEMS, to_release
from checkpoints.run_files import missing_entries
from datasets.labels import STANDARD, ClassSet
from network.archs import lookup_arch
from network.backbones import NO_NORMS
from utils.errors import UsageError
from utils.processes import rank

Content = dict[str, Any]  # of a checkpoint as train.py writes it
NEEDED = {"arch", "num_classes", "output_stride", "aux", "dim", "memory"}  # what tells a network
KNOWN = NEEDED | {"wt_layer", "image_in", "classes"}
FORMATS = {"release": "a file in the format of the authors' release", "bare": "a bare state dict"}


def as_ours(
    content: Any,
    path: Path,
    *,
    arch: str | None = None,
    output_stride: int | None = None,
    wt_layer: Sequence[int] | None = None,
    image_in: bool | None = None,
) -> Content:
    """The ``content`` of a checkpoint of either kind, read from ``path``, as ``train.py`` would have written it.

    Of the authors' files the entries tell the network; what they cannot tell is taken from the flags, else it is what
    is usual, said in one note, and kept as ``origin["assumed"]``.  UsageError where a flag contradicts the file.
    """
    if missing := missing_entries(content):
        release = foreign(path, content, missing)
        config, assumed = network_of(release, path, arch=arch, output_stride=output_stride, wt_layer=wt_layer)
        config |= {"image_in": True} if image_in else {}  # else nothing says how its images were normalised
        origin = {"format": release.kind, **release.facts} | ({"assumed": assumed} if assumed else {})
        known = {"network": config, "weights": release.weights, "origin": origin}
        return known | {"iteration": None, "flags": {}, "code": None}  # not known
    config = content["network"]
    check_own(path, config, wt_layer=wt_layer, image_in=image_in)
    check_arch(path, arch, archs=(config["arch"],))
    return content | {"network": with_stride(config, output_stride, path)}


def check_own(path: Path, config: Any, *, wt_layer: Sequence[int] | None, image_in: bool | None) -> None:
    """That the network of a checkpoint of ours, as it tells it, has what is asked for; None asks for nothing."""
    if not isinstance(config, Mapping) or not NEEDED <= config.keys() <= KNOWN:
        raise UsageError(f"{path}: tells its network as another version of this project does; use that one")
    norms = list(config.get("wt_layer", NO_NORMS))
    if wt_layer is not None and list(wt_layer) != norms:
        raise norms_differ(path, wt_layer, [(number,) for number in norms])
    held = config.get("image_in")
    if image_in is not None and held is not None and image_in != held:
        how, remedy = ("each by itself", "add") if held else ("by ImageNet", "drop")
        raise UsageError(f"--image_in: {path} was trained on images normalised {how}; {remedy} --image_in")


def network_of(
    release: ReleaseFile,
    path: Path,
    *,
    arch: str | None,
    output_stride: int | None,
    wt_layer: Sequence[int] | None,
) -> tuple[dict[str, Any], list[str]]:
    """What rebuilds the network of one of the authors' files, and the flags that were assumed for it."""
    found = recognised_in(release.weights, path)
    check_arch(path, arch, archs=found.archs)
    check_norms(path, wt_layer, found=found)
    chosen = next((name for name in found.archs if arch and short(name) == short(arch)), found.archs[0])
    config = {
        "arch": chosen,
        "num_classes": found.num_classes,
        "output_stride": output_stride,
        "aux": found.aux,
        "wt_layer": list(wt_layer or found.wt_layer),
        "dim": found.dim,
        "memory": {"slots": found.slots, "dim": found.dim, "momentum": 0.8, "read_temp": 1.0} if found.slots else None,
    }
    assumed = [] if arch or output_stride else [f"--output_stride {lookup_arch(chosen).output_stride}"]
    if wt_layer is None and found.may_hold_silent_norms:
        assumed.append(f"--wt_layer {spaced(found.wt_layer)}")
    tell(f"{path}: {describe(release, config)}" + (f"; assumed: {' '.join(assumed)}" if assumed else ""))
    if wt_layer is None and found.may_hide_whitening:
        warn(
            f"{path}: used as with --wt_layer {spaced(found.wt_layer)}, but norms 1, 2 and 3 leave no trace in such "
            "a file; if it was trained with --wt_layer 1, 2 or 3 its scores are wrong: give it"
        )
    return config, assumed


def with_stride(config: Mapping[str, Any], output_stride: int | None, path: Path) -> dict[str, Any]:
    """A network as it was trained, or at another output stride, which its weights fit as well."""
    own = stride_of(config)
    if output_stride in (None, own):
        return dict(config)
    tell(f"{path}: of output stride {own}, used at {output_stride}")
    return {**config, "output_stride": output_stride}


def stride_of(config: Mapping[str, Any]) -> int:
    return config["output_stride"] or lookup_arch(config["arch"]).output_stride


def foreign(path: Path, content: Any, missing: Sequence[str]) -> ReleaseFile:
    """What is no checkpoint of ours, for lack of the entries ``missing``, as one of the release."""
    release = parse_release(content)
    if release is None:
        raise UsageError(
            f"{path}: not a checkpoint of train.py, without {', '.join(missing)}, nor one of the authors' "
            "release, without a state_dict of tensors; give RUN/last.pth or their .pth file"
        )
    return release


def classes_in(config: Mapping[str, Any]) -> ClassSet | None:
    """What a network tells apart; None if neither the file nor the number of its classes says it."""
    if stored := config.get("classes"):
        return ClassSet.from_config(stored)
    return STANDARD if config["num_classes"] == len(STANDARD) else None


def check_classes(before: Mapping[str, Any], now: Mapping[str, Any], called: str) -> None:
    """UsageError, which begins with ``called``, if a network that is to go on told other classes apart."""
    old, new = classes_in(before), classes_in(now)
    if old is not None and old.names != new.names:
        raise UsageError(
            f"{called}: tells apart {', '.join(old.names)}, and the data sets now have {', '.join(new.names)}; give "
            "data sets with the same classes, or start anew"
        )


def recognised_in(weights: Mapping[str, Tensor], path: Path) -> Recognised:
    shapes = {key: value.shape for key, value in weights.items()}
    return recognise(shapes, source=str(path), name=name_in_release)


def name_in_release(key: str) -> str:
    """What the entry is called in the authors' files."""
    if key == ITEMS:
        return "memory"
    try:
        return to_release(key)
    except KeyError:
        return key


def check_arch(path: Path, arch: str | None, *, archs: Sequence[str]) -> None:
    if arch and short(arch) not in map(short, archs):
        lookup_arch(arch)  # a name that no network has is told first
        stored = " or ".join(map(short, archs))
        raise UsageError(f"--arch {arch}: {path} holds a {stored}; give --arch {short(archs[0])}")


def check_norms(path: Path, wt_layer: Sequence[int] | None, *, found: Recognised) -> None:
    if wt_layer is not None and not found.fits(wt_layer):
        raise norms_differ(path, wt_layer, found.norms)
    if wt_layer is None and any(len(numbers) > 1 and 0 not in numbers for numbers in found.norms):
        raise UsageError(
            f"{path}: its stem has an instance norm without scale and shift, of which nothing tells whether "
            "the stages have it too; give the --wt_layer of its training, e.g. --wt_layer 0 0 2 2 2 0 0"
        )


def norms_differ(path: Path, asked: Sequence[int], held: Sequence[Sequence[int]]) -> UsageError:
    """``held`` are the numbers that fit at each place, the likeliest first; of several the answer names one, if it can
    one that was asked for, here or at another place."""
    fitting = [
        own if own in numbers else min(numbers, key=lambda number: number not in asked)
        for own, numbers in zip(asked, held, strict=True)
    ]
    sole = all(len(numbers) == 1 for numbers in held)
    remedy = f"give {'' if sole else 'e.g. '}--wt_layer {spaced(fitting)}"
    return UsageError(f"--wt_layer {spaced(asked)}: {path} holds other norms; {remedy}")


def spaced(numbers: Iterable[object]) -> str:
    return " ".join(map(str, numbers))


def short(arch: str) -> str:
    return arch.rpartition(".")[2]


def describe(release: ReleaseFile, config: Mapping[str, Any]) -> str:
    parts = [short(config["arch"]), f"{config['num_classes']} classes"]
    parts.append("a memory of {slots} x {dim}".format(**config["memory"]) if config["memory"] else "no memory")
    parts.append("auxiliary head" if config["aux"] else "no auxiliary head")
    epoch = f" after epoch {release.facts['epoch']}" if "epoch" in release.facts else ""
    return f"{FORMATS[release.kind]}{epoch}: {', '.join(parts)}"


def tell(text: str) -> None:
    if rank() == 0:
        print(f"note: {text}")


def warn(text: str) -> None:
    if rank() == 0:
        print(f"warning: {text}", file=sys.stderr)
