"""The figures of the paper: where features lie (``--tsne``), and where the memory is read (``--mem_actmap``)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets.labels import ClassSet
from datasets.registry import titles
from engine.evaluating.prediction import Predictor
from engine.figures.activation_maps import draw_activation
from engine.figures.views import ViewSource
from engine.options.evaluation_options import EvaluationOptions
from engine.run_log import code_version
from utils.errors import UsageError
from utils.packages import need


def draw_figures(
    predict: Predictor, options: EvaluationOptions, *, out: Path, trained: Mapping[str, Any], classes: ClassSet
) -> Path:
    """Draw the figures below ``out`` and return it; ``trained`` is the content of the checkpoint.

    UsageError if a figure needs a memory and there is none.
    """
    figures, subject, snapshot = options.figures, options.subject, options.snapshot.snapshot
    if predict.net.memory is None and (figures.actmap or figures.tsne_features == "after"):
        flag = "--mem_actmap" if figures.actmap else "--tsne_features after"
        raise UsageError(f"{flag}: {snapshot} holds no memory; name a checkpoint trained with --memory")
    sources = figures.sources or trained["flags"].get("dataset") or []
    names = titles(subject.datasets or ())
    settings = {
        "snapshot": str(snapshot.resolve()),
        "iteration": trained["iteration"],
        "network": trained["network"],
        "label": subject.label,
        "code": code_version(),
        "recipe": subject.recipe,
        "sources": [names.get(name, name) for name in sources],
        "split": subject.split,
        "centre_crop": figures.centre_crop,
        **predict.describe(),
    }
    source = ViewSource(options, classes)
    if figures.tsne:
        need("matplotlib", "--tsne", remedy="install it with `pip install openTSNE matplotlib`")
        from engine.figures.tsne import draw_tsne

        draw_tsne(predict, source, out=out / "tsne", settings=settings)
    if figures.actmap:
        draw_activation(predict, source, out=out / "memory_activation", settings=settings)
    return out
