"""``--mem_actmap``: how much each pixel reads from the memory's item of a class."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datasets.labels import ClassSet
from engine.evaluating.image_folder import image_folder
from engine.evaluating.prediction import Predictor
from engine.figures.views import View, domain_views, folder_views, shown_classes
from engine.options.evaluation_options import EvaluationOptions
from network.deeplab import resize
from utils.files import write_json
from utils.log import log
from utils.pictures import contact_sheet, heat, overlay, save_picture
from utils.processes import rank

KINDS = ("plain", "blend", "sheets")


def draw_activation(
    predict: Predictor, options: EvaluationOptions, classes: ClassSet, *, out: Path, settings: Mapping[str, Any]
) -> None:
    """Write a map per image and class, plain and over the image, and a sheet with a colour bar per image."""
    shown = {k: classes.names[k] for k in shown_classes(classes, options)}
    for folder, views in views_by_folder(options, out):
        folder.mkdir(parents=True, exist_ok=True)
        if rank() == 0:
            write_json(folder / "settings.json", {**settings, "classes": list(shown.values())})
        for view in views:
            draw_view(predict, view, shown, classes, folder)
    log.info(f"written to {out}")


def views_by_folder(options: EvaluationOptions, out: Path) -> Iterator[tuple[Path, Iterator[View]]]:
    """The folder of results, in ``out``, and the images, for each domain or for a folder of images."""
    if options.subject.images is None:
        for name, images in options.domains().items():
            yield out / f"{name}_{options.subject.split}", domain_views(images, options)
    else:
        images, folder = image_folder(options.subject, out, KINDS)
        yield folder, folder_views(images, options)


def draw_view(predict: Predictor, view: View, shown: Mapping[int, str], classes: ClassSet, folder: Path) -> None:
    output = predict.output(view.image, index=view.index)
    image = view.image.permute(1, 2, 0).numpy()
    prediction = classes.colourise(output.logits[0].argmax(0).to(torch.uint8).cpu().numpy())
    tiles = {"image": image, "prediction": prediction}
    maps = activation(output.reading.weights, view.image.shape[-2:])[list(shown)]
    for name, values in zip(shown.values(), maps.cpu().numpy(), strict=True):
        file = re.sub(r"[^\w.-]", "_", name) + f"/{view.name}.png"
        plain = heat(values)
        tiles[name] = overlay(image, plain)
        save_picture(folder / "plain" / file, plain)
        save_picture(folder / "blend" / file, tiles[name])
    sheet = contact_sheet(tiles)
    bar = heat(np.tile(np.linspace(0, 1, sheet.shape[1]), (12, 1)))
    meaning = "in each pixel, from 0 (left), the least read of all items, to 1 (right), the most read"
    scale = contact_sheet({meaning: bar}, columns=1, width=sheet.shape[1])
    save_picture(folder / "sheets" / f"{view.name}.png", np.concatenate([sheet, scale]))


def activation(weights: Tensor, size: Sequence[int]) -> Tensor:
    """How much is read from each item, S,H,W of ``size``, for read weights (1,S,h,w).

    0 is the least read and 1 the most read item of each pixel, as published.
    """
    maps = resize(weights, torch.Size(size))[0]
    low, high = maps.aminmax(dim=0)
    return (maps - low) / (high - low).clamp_min(1e-12)
