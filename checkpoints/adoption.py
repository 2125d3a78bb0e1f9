"""Use any checkpoint as one of ours: a file of ``train.py``, a file of the authors' release, or a bare state dict."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from checkpoints.recognition import Recognised, recognise
from checkpoints.release_format import ReleaseFile, parse_release
from checkpoints.run_files import load_weights, missing_entries, read_checkpoint
from datasets.labels import STANDARD, ClassSet
from network.archs import lookup_arch
from network.backbones import NO_NORMS
from network.deeplab import DeepLab
from utils.errors import UsageError
from utils.log import log

Config = Mapping[str, Any]  # of a network, as every checkpoint of ours holds it
NEEDED = {"arch", "num_classes", "output_stride", "aux", "dim", "memory"}  # the rest is missing in older files
FORMATS = {"release": "a file in the format of the authors' release", "bare": "a bare state dict"}


def as_ours(
    content: Any,
    path: Path,
    *,
    arch: str | None = None,
    output_stride: int | None = None,
    wt_layer: Sequence[int] | None = None,
    image_in: bool | None = None,
) -> dict[str, Any]:
    """Return the ``content`` of the checkpoint ``path`` as ``train.py`` would have written it.

    Foreign files do not hold all facts about their network.  The arguments supply the rest, else usual values do; a
    note names those, and ``origin["assumed"]`` keeps them.  UsageError if an argument contradicts the file.
    """
    if missing_entries(content):
        release = parse_release(content, path)
        config, assumed = foreign_config(release, path, arch=arch, output_stride=output_stride, wt_layer=wt_layer)
        if image_in:  # without the flag nothing says how the images were normalised
            config["image_in"] = True
        origin = {"format": release.format, **release.facts} | ({"assumed": assumed} if assumed else {})
        ours = {"network": config, "weights": release.weights, "origin": origin}
        return ours | {"iteration": None, "flags": {}, "code": None}
    config = content["network"]
    check_config(path, config, wt_layer=wt_layer, image_in=image_in)
    check_arch(path, arch, [config["arch"]])
    if output_stride not in (None, stride_of(config)):
        note_stride(path, stride_of(config), output_stride)
        config = {**config, "output_stride": output_stride}
    return content | {"network": config}


def foreign_config(
    release: ReleaseFile, path: Path, *, arch: str | None, output_stride: int | None, wt_layer: Sequence[int] | None
) -> tuple[dict[str, Any], list[str]]:
    """Return the configuration of a network, recognised by its entries, and the flags for what was assumed."""
    recognised = recognise(release.weights, path)
    check_arch(path, arch, recognised.archs)
    check_norms(path, wt_layer, recognised.norms)
    memory = {"slots": recognised.slots, "dim": recognised.dim, "momentum": 0.8, "read_temp": 1.0}
    config = {
        "arch": next((name for name in recognised.archs if arch and short(name) == short(arch)), recognised.archs[0]),
        "num_classes": recognised.num_classes,
        "output_stride": output_stride,
        "aux": recognised.aux,
        "wt_layer": list(wt_layer or recognised.wt_layer),
        "dim": recognised.dim,
        "decoder_dim": recognised.decoder_dim,
        "memory": memory if recognised.slots else None,
    }
    assumed = [] if arch or output_stride else [f"--output_stride {stride_of(config)}"]
    norms = f"--wt_layer {spaced(config['wt_layer'])}"
    if wt_layer is None and any(len(numbers) > 1 for numbers in recognised.norms):
        assumed.append(norms)
    end = f"; assumed: {' '.join(assumed)}" if assumed else ""
    log.info(f"note: {path}: {describe(release, config)}{end}")
    if wt_layer is None and len(recognised.norms[2]) > 1:  # RobustNet whitens the stem; only a ResNet's stem shows it
        log.warning(
            f"warning: {path}: used as with {norms}, but norms 1, 2 and 3 leave no trace in such a file; "
            "if it was trained with --wt_layer 1, 2 or 3 its scores are wrong: give it"
        )
    return config, assumed


def describe(release: ReleaseFile, config: Config) -> str:
    epoch = f" after epoch {release.facts['epoch']}" if "epoch" in release.facts else ""
    memory = "a memory of {slots} x {dim}".format(**config["memory"]) if config["memory"] else "no memory"
    network = f"{short(config['arch'])}, {config['num_classes']} classes, {memory}"
    return f"{FORMATS[release.format]}{epoch}: {network}, {'auxiliary head' if config['aux'] else 'no auxiliary head'}"


def load_start(net: DeepLab, path: Path, config: Config, *, arch: str, wt_layer: Sequence[int], image_in: bool) -> None:
    """Load the checkpoint ``path`` into ``net``, the network of ``config``, as the start of a new run.

    A memory or an auxiliary head that ``net`` lacks is left out, with a note.  UsageError if the checkpoint contradicts
    the arguments.
    """
    content = read_checkpoint(path, "--snapshot")
    is_ours = not missing_entries(content)
    if is_ours:
        check_config(path, content["network"], wt_layer=wt_layer, image_in=image_in)
        check_classes(content["network"], config, f"--snapshot {path}")
    weights = content["weights"] if is_ours else parse_release(content, path).weights
    recognised = recognise(weights, path)
    check_arch(path, arch, recognised.archs)
    check_norms(path, wt_layer, recognised.norms)
    check_parts(path, net, recognised)
    unused = {
        part: title
        for part, title, stored in (("memory", "memory", recognised.slots), ("aux", "auxiliary head", recognised.aux))
        if stored and getattr(net, part) is None
    }
    used = {key: value for key, value in weights.items() if key.partition(".")[0] not in unused}
    load_weights(net, used, f"--snapshot {path}")
    if is_ours:
        note_changes(path, content["network"], config)
    log.info(f"note: starts from {path}" + (f", without its {' and '.join(unused.values())}" if unused else ""))


def note_changes(path: Path, before: Config, now: Config) -> None:
    """Note what changes in the network of a checkpoint although its weights fit."""
    if stride_of(before) != stride_of(now):
        note_stride(path, stride_of(before), stride_of(now))
    if before["memory"] and now["memory"]:
        old, new = before["memory"]["read_temp"], now["memory"]["read_temp"]
        if old != new:
            log.info(f"note: {path}: its memory was read at --read_temp {old}, and is now at {new}")


def note_stride(path: Path, old: int, new: int) -> None:
    log.info(f"note: {path}: of output stride {old}, used at {new}")


# Checks of a checkpoint against the arguments; None asks for nothing


def check_config(path: Path, config: Any, *, wt_layer: Sequence[int] | None, image_in: bool | None) -> None:
    """Check the configuration that a checkpoint of ours holds."""
    if not isinstance(config, Mapping) or not config.keys() >= NEEDED:
        raise UsageError(f"{path}: was written by another version of this project; use that version")
    check_norms(path, wt_layer, [(number,) for number in config.get("wt_layer", NO_NORMS)])
    stored = config.get("image_in")
    if image_in is not None and stored is not None and image_in != stored:
        how, remedy = ("each by itself", "add") if stored else ("by ImageNet", "drop")
        raise UsageError(f"--image_in: {path} was trained on images normalised {how}; {remedy} --image_in")


def check_arch(path: Path, arch: str | None, stored: Sequence[str]) -> None:
    if arch and short(arch) not in map(short, stored):
        lookup_arch(arch)  # complains about an unknown name
        names = " or ".join(map(short, stored))
        raise UsageError(f"--arch {arch}: {path} holds a {names}; give --arch {short(stored[0])}")


def check_norms(path: Path, wt_layer: Sequence[int] | None, norms: Sequence[Sequence[int]]) -> None:
    """``norms`` are the numbers that fit at each place of ``--wt_layer``, the likeliest first."""
    if wt_layer is None:
        if any(len(numbers) > 1 and 0 not in numbers for numbers in norms):
            raise UsageError(
                f"{path}: its stem has an instance norm without scale and shift, and nothing shows whether the stages "
                "have one too; give the --wt_layer of its training, e.g. --wt_layer 0 0 2 2 2 0 0"
            )
        return
    fitting = [  # per place the number given there, else one given elsewhere, else the likeliest
        next(each for each in (number, *wt_layer, *numbers) if each in numbers)
        for number, numbers in zip(wt_layer, norms, strict=True)
    ]
    if fitting != list(wt_layer):
        given, fits = spaced(wt_layer), spaced(fitting)
        raise UsageError(f"--wt_layer {given}: {path} holds other norms; give e.g. --wt_layer {fits}")


def check_classes(before: Config, now: Config, source: str) -> None:
    """UsageError, which begins with ``source``, if a network that continues was trained on other classes."""
    old, new = classes_in(before), classes_in(now)
    if old is not None and old.names != new.names:
        raise UsageError(
            f"{source}: was trained on the classes {', '.join(old.names)}, but the data sets now have "
            f"{', '.join(new.names)}; give data sets with the same classes, or start a new run"
        )


def check_parts(path: Path, net: DeepLab, recognised: Recognised) -> None:
    """Check that the checkpoint has the parts of ``net``, in the same size."""
    classes = net.classifier.out_channels
    if recognised.num_classes != classes:
        raise UsageError(f"{path}: has {recognised.num_classes} classes, not {classes}; name another checkpoint")
    if net.aux is not None and not recognised.aux:
        raise UsageError(f"{path}: has no auxiliary head; add --no_aux_loss to train without one")
    if net.memory is None:
        return
    if not recognised.slots:
        raise UsageError(f"--memory: {path} holds none; drop --memory or name a checkpoint trained with it")
    slots, dim = net.memory.items.shape
    if (recognised.slots, recognised.dim) != (slots, dim):
        remedy = f"--mem_slot {recognised.slots} --mem_dim {recognised.dim}"
        raise UsageError(f"{path}: its memory is not {slots} x {dim}; give {remedy}")


# Reading a configuration


def classes_in(config: Config) -> ClassSet | None:
    """Return the classes of a network; None if the file does not name them and there are not 19."""
    if stored := config.get("classes"):
        return ClassSet.from_config(stored)
    return STANDARD if config["num_classes"] == len(STANDARD) else None


def stride_of(config: Config) -> int:
    return config["output_stride"] or lookup_arch(config["arch"]).output_stride


def short(arch: str) -> str:
    return arch.rpartition(".")[2]


def spaced(numbers: Iterable[object]) -> str:
    return " ".join(map(str, numbers))
