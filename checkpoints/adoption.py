"""Use any checkpoint as one of ours: a file of ``train.py``, a file of the authors' release, or a bare state dict."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from checkpoints.frameworks import SMP, SMP_STRIDE
from checkpoints.frozen_encoders import completed, merged
from checkpoints.recognition import recognise
from checkpoints.release_format import parse_release
from checkpoints.run_files import is_ours, load_weights, read_checkpoint
from datasets.labels import STANDARD, ClassSet
from network.archs import lookup_arch, short_name
from network.backbones import NO_NORMS
from network.deeplab import DeepLab
from utils.errors import UsageError
from utils.log import log

Config = Mapping[str, Any]  # of a network, as every checkpoint of ours holds it
PARTS = {"memory": "memory", "aux": "auxiliary head"}  # a network may leave them out
FRESH = {"classifier": ("classifier.", "aux.4."), "memory": ("memory.",)}  # entries of the parts of --fresh
REMEDY = "give the flags of its training, or name another checkpoint"


def as_ours(
    content: Any,
    path: Path,
    *,
    arch: str | None = None,
    output_stride: int | None = None,
    wt_layer: Sequence[int] | None = None,
    image_in: bool | None = None,
    pretrained_backbone: str | None = None,
) -> dict[str, Any]:
    """Return the ``content`` of the checkpoint ``path`` as ``train.py`` would have written it.

    The arguments supply facts that foreign files do not hold; else usual values do, and a note names them.  UsageError
    if one of ours differs, except in the output stride.  Low-rank updates are added to the weights.
    ``pretrained_backbone`` is where the weights of a frozen encoder are now.
    """
    if output_stride not in (None, 8, 16, 32):  # a program gives any number
        raise UsageError(f"output_stride {output_stride}: give 8, 16 or 32")
    ours = content if is_ours(content) else adopted(content, path, wt_layer=wt_layer)
    facts = {"arch": arch, "output_stride": output_stride, "wt_layer": wt_layer, "image_in": image_in}
    config = ours["network"] | {
        key: list(value) if key == "wt_layer" else value for key, value in facts.items() if value is not None
    }
    check_fits(ours["network"], config, f"--snapshot {path}")
    return merged(completed(ours | {"network": config}, f"--snapshot {path}", pretrained=pretrained_backbone))


def adopted(content: Any, path: Path, *, wt_layer: Sequence[int] | None) -> dict[str, Any]:
    """Return a foreign checkpoint as one of ours, with those norms of ``wt_layer`` that fit its entries."""
    weights, origin = parse_release(content, path)
    recognised = recognise(weights, path)
    if wt_layer is None and any(len(numbers) > 1 and 0 not in numbers for numbers in recognised.norms):
        raise UsageError(
            f"{path}: its stem has an instance norm without scale and shift, and nothing shows whether the stages "
            "have one too; give the --wt_layer of its training, e.g. --wt_layer 0 0 2 2 2 0 0"
        )
    norms = wt_layer or recognised.wt_layer
    memory = {"slots": recognised.slots, "dim": recognised.dim, "momentum": 0.8, "read_temp": 1.0}
    config = {
        "arch": recognised.archs[0],
        "num_classes": recognised.num_classes,
        "output_stride": SMP_STRIDE if origin["format"] == SMP else None,
        "aux": recognised.aux,
        "wt_layer": [n if n in fitting else fitting[0] for n, fitting in zip(norms, recognised.norms, strict=True)],
        "dim": recognised.dim,
        "decoder_dim": recognised.decoder_dim,
        "memory": memory if recognised.slots else None,
    }
    parts = " and ".join(title for part, title in PARTS.items() if config[part]) or "no memory"
    log.info(
        f"note: {path}: {short_name(config['arch'])} with {parts}, {config['num_classes']} classes and --wt_layer "
        f"{' '.join(map(str, config['wt_layer']))}; the norms 1, 2 and 3 and the output stride leave no trace in such "
        "a file: give --wt_layer or --output_stride if its training had others"
    )
    ours = {"network": config, "weights": weights, "origin": origin}
    return ours | {"iteration": None, "flags": {}, "code": None}


def load_start(net: DeepLab, path: Path, config: Config, *, fresh: Sequence[str] = ()) -> None:
    """Load the checkpoint ``path`` into ``net``, the network of ``config``, as the start of a new run.

    A memory or an auxiliary head that ``net`` lacks is left out, and the parts ``fresh`` (of ``FRESH``) stay as they
    are in ``net``; a note says so.  UsageError if something else differs.
    """
    content = read_checkpoint(path, "--snapshot")
    ours = content if is_ours(content) else adopted(content, path, wt_layer=config["wt_layer"])
    anew = {"memory"} & {*fresh}
    if "classifier" in fresh and ("memory" in fresh or not config["memory"]):  # nothing of the old classes is left
        anew |= {"num_classes", "classes"}
    stored = ours["network"] | {key: config[key] for key in anew}
    remedy = f"{REMEDY}; for other classes or a new memory: --fresh classifier memory"
    check_fits(stored, config, f"--snapshot {path}", remedy=remedy)
    ours = completed(ours, f"--snapshot {path}")
    unused = {part: title for part, title in PARTS.items() if stored[part] and not config[part]}
    left_out = (*(f"{part}." for part in unused), *(prefix for part in fresh for prefix in FRESH[part]))
    used = {key: value for key, value in ours["weights"].items() if not key.startswith(left_out)}
    own = {key: value for key, value in net.state_dict().items() if key.startswith(left_out)}
    load_weights(net, used | own, f"--snapshot {path}")
    without = f", without its {' and '.join(unused.values())}" if unused else ""
    log.info(f"note: starts from {path}{without}" + (f", with a new {' and a new '.join(fresh)}" if fresh else ""))


def check_fits(stored: Config, wanted: Config, source: str, *, remedy: str = REMEDY) -> None:
    """UsageError, which begins with ``source``, for the first fact in which ``stored`` differs from ``wanted``.

    The output stride may differ, and a memory or an auxiliary head may be left out.
    """
    lookup_arch(wanted["arch"])  # or a UsageError
    there = facts({"image_in": wanted.get("image_in")} | dict(stored))  # older and foreign files do not say it
    for title, here in facts(wanted).items():
        if here and there[title] != here:
            raise UsageError(f"{source}: another {title}: there {there[title] or 'none'}, here {here}; {remedy}")


def facts(config: Config) -> dict[str, str]:
    """Return what identifies a network, apart from its output stride; '' for a part that it lacks."""
    memory, classes = config["memory"], classes_in(config)
    return {
        "network (--arch)": short_name(config["arch"]).partition("_OS")[0],
        "list of norms (--wt_layer)": " ".join(map(str, config.get("wt_layer", NO_NORMS))),
        "normalisation (--image_in)": "each image by itself" if config.get("image_in") else "by ImageNet",
        "list of classes": ", ".join(classes.names) if classes else f"{config['num_classes']}",
        "low-rank update (--tune)": tune if (tune := config.get("tune", "")).startswith("lora") else "none",
        "width (--mem_dim)": f"{config['dim']}",
        "memory (--memory, --mem_slot, --mem_centred, --mem_residual)": ", ".join(
            [f"{memory['slots']} items", *(key for key in ("centred", "residual") if memory.get(key))] if memory else []
        ),
        "auxiliary head (without one: --no_aux_loss)": "one" if config["aux"] else "",
    }


def classes_in(config: Config) -> ClassSet | None:
    """Return the classes of a network; None if the file does not name them and there are not 19."""
    if stored := config.get("classes"):
        return ClassSet.from_config(stored)
    return STANDARD if config["num_classes"] == len(STANDARD) else None
