"""``--mem_actmap``: how much each pixel reads from the memory's item of a class."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datasets.images import ImageFolder
from datasets.labels import ClassSet
from engine.evaluating.prediction import Predictor
from engine.figures.views import View, ViewSource, shown_classes
from engine.options.figure_options import FigureOptions
from network.deeplab import resize
from utils.files import write_json
from utils.log import log
from utils.pictures import contact_sheet, heat, overlay, save_picture
from utils.processes import rank

KINDS = ("plain", "blend", "sheets")


def draw_activation(
    predict: Predictor,
    source: ViewSource,
    figures: FigureOptions,
    *,
    out: Path,
    settings: Mapping[str, Any],
    classes: ClassSet,
) -> None:
    """Write a map per image and class, plain and over the image, and a sheet per image."""
    shown = shown_classes(classes, all_classes=figures.all_classes)
    for folder, views in folders_and_views(source, out):
        folder.mkdir(parents=True, exist_ok=True)
        if rank() == 0:
            names = [classes.names[k] for k in shown]
            write_json(folder / "settings.json", {**settings, "scale": figures.actmap_scale, "classes": names})
        for view in views:
            draw_view(predict, view, folder=folder, classes=classes, shown=shown, scale=figures.actmap_scale)
    log.info(f"written to {out}")


def folders_and_views(source: ViewSource, out: Path) -> Iterator[tuple[Path, Iterator[View]]]:
    """The folder of results and the images, for each domain or for a folder of images."""
    path, split = source.subject.images, source.subject.split
    if path is None:
        for name, images in source.domains().items():
            yield out / f"{name}_{split}", source.labelled(images)
        return
    root = path if path.is_dir() else path.parent
    folder = out / (root.resolve().name or "images")
    images = ImageFolder(path, apart_from=[folder / kind for kind in KINDS], limit=source.limit)
    yield folder, source.unlabelled(images)


def draw_view(
    predict: Predictor, view: View, *, folder: Path, classes: ClassSet, shown: Sequence[int], scale: str
) -> None:
    output = predict.output(view.image, index=view.index)
    image = view.image.permute(1, 2, 0).numpy()
    prediction = classes.colourise(output.logits[0].argmax(0).to(torch.uint8).cpu().numpy())
    tiles = {"image": image, "prediction": prediction}
    maps = activation(output.reading.weights, view.image.shape[-2:], shown, scale=scale)
    for k, values in zip(shown, maps.cpu().numpy(), strict=True):
        name = classes.names[k]
        file = f"{file_name(name)}/{view.name}.png"
        plain = heat(values)
        tiles[name] = overlay(image, plain)
        save_picture(folder / "plain" / file, plain)
        save_picture(folder / "blend" / file, tiles[name])
    save_picture(folder / "sheets" / f"{view.name}.png", contact_sheet(tiles))


def file_name(name: str) -> str:
    """The name of a class as a folder's name."""
    return re.sub(r"[^\w.-]", "_", name)


def activation(weights: Tensor, size: Sequence[int], shown: Sequence[int], *, scale: str) -> Tensor:
    """How much is read from the items ``shown``, from 0 to 1: K,H,W of ``size`` for read weights (1,S,h,w).

    With ``scale`` 'pixel', 0 is the least read and 1 the most read item of each pixel, as published.  With 'image',
    they are an item's own least and most over the image.
    """
    full = resize(weights, torch.Size(size))[0]
    if scale == "image":
        full = full[list(shown)]
        low, high = full.amin(dim=(1, 2), keepdim=True), full.amax(dim=(1, 2), keepdim=True)
        return (full - low) / (high - low).clamp_min(1e-12)
    low, high = full.amin(dim=0), full.amax(dim=0)
    return (full[list(shown)] - low) / (high - low).clamp_min(1e-12)
