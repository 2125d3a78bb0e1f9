"""The figures of the paper: where features lie (``--tsne``), and where the memory is read (``--mem_actmap``)."""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets.labels import ClassSet
from datasets.registry import titles
from engine.evaluating.prediction import Predictor
from engine.figures.activation_maps import draw_activation
from engine.figures.tsne import draw_tsne
from engine.run_log import code_version
from utils.errors import UsageError


def draw_figures(
    predict: Predictor, args: Namespace, *, out: Path, trained: Mapping[str, Any], classes: ClassSet
) -> Path:
    """Draw what the flags ask for below ``out``; ``trained`` is the content of the checkpoint."""
    check_memory(args, memory=predict.net.memory is not None)
    args.dataset = args.dataset and list(dict.fromkeys(args.dataset))
    called = titles(args.dataset or ())
    sources = args.source_domain or trained["flags"].get("dataset") or []
    about = {
        "snapshot": str(args.snapshot.resolve()),
        "iteration": trained["iteration"],
        "network": trained["network"],
        "label": args.exp,
        "code": code_version(),
        "recipe": args.recipe,
        "sources": [called.get(name, name) for name in sources],
        "split": args.split,
        "centre_crop": args.centre_crop,
        **predict.describe(),
    }
    if args.tsne:
        draw_tsne(predict, args, out=out / "tsne", about=about, classes=classes)
    if args.mem_actmap:
        draw_activation(predict, args, out=out / "memory_activation", about=about, classes=classes)
    return out


def check_memory(args: Namespace, *, memory: bool) -> None:
    """That there is a memory for what cannot be drawn without."""
    flag = "--mem_actmap" if args.mem_actmap else "--tsne_features after"
    if not memory and (args.mem_actmap or (args.tsne and args.tsne_features == "after")):
        raise UsageError(f"{flag}: {args.snapshot} holds no memory; name a checkpoint trained with --memory")
